/** Live flow lines from each node's agent: follows the monitor stream of its debug socket, over restarts of the agent. */
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import type { MonitorEnd, MonitorRecord } from '../../observe/monitor.ts';
import { reservedName } from '../../observe/names.ts';
import { pause } from './pause.ts';
import type { ClusterNode } from './registry.ts';

const RETRY_MS = 500;

/** Returns what ends it. */
export function followFlows(nodes: readonly ClusterNode[], say: (line: string) => void): () => void {
  const ended = new AbortController();
  for (const node of nodes) void followNode(node, say, ended.signal);
  return () => ended.abort();
}

async function followNode(node: ClusterNode, say: (line: string) => void, ended: AbortSignal): Promise<void> {
  while (!ended.aborted) {
    await stream(node.debugSocket, (line) => say(`${node.name}  ${line}`), ended);
    await pause(RETRY_MS, ended);
  }
}

/** Resolves when the stream ends, however. */
function stream(socketPath: string, say: (line: string) => void, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const end = () => done();
    const call = request({ socketPath, path: '/v1/monitor?follow', agent: false, signal }, (response) => {
      response.on('close', end).on('error', end);
      if (response.statusCode !== 200) response.resume();
      // An agent that is killed ends the stream with an error, which readline passes on.
      else
        createInterface({ input: response })
          .on('error', end)
          .on('line', (line) => {
            const text = flowLine(line);
            if (text) say(text);
          });
    });
    call.on('error', end);
    call.end();
  });
}

const POINT_WIDTH = 14;

/** Time, what happened, from where to where, with what; undefined for what would only hide the rest. */
export function flowLine(text: string): string | undefined {
  const record = parse(text);
  if (!record || !isTelling(record)) return undefined;
  const { time, type, subtype, source, destination, protocol, tcpFlags, icmp, original, originalEnd, bytes } = record;
  const what = type === 'drop' ? `DROP ${subtype}` : subtype.padEnd(POINT_WIDTH);
  const was = (end: typeof originalEnd): string => (original && originalEnd === end ? ` (was ${original})` : '');
  const detail = [protocol, tcpFlags.join(','), icmp, `${bytes} bytes`].filter(Boolean).join(' ');
  return `${time.slice(11, 23)}  ${what}  ${endText(source)}${was('source')} → ${endText(destination)}${was('destination')}  ${detail}`;
}

/**
 * Beginnings of connections, verdicts and drops. Every kernel with IPv6 asks each of its links for routers and group
 * members when it comes up, which pods may not: that says nothing of the pod.
 */
function isTelling({ type, connection, destination }: MonitorRecord): boolean {
  if (type === 'trace') return connection === 'new';
  // The packets of the connection to the backend are told of anyway.
  if (type === 'trace-sock') return false;
  return !destination.address.startsWith('ff02::');
}

function parse(text: string): MonitorRecord | undefined {
  try {
    const value = JSON.parse(text) as MonitorRecord;
    return typeof value.time === 'string' && value.source && value.destination ? value : undefined;
  } catch {
    return undefined;
  }
}

function endText({ pod, identity, address, port }: MonitorEnd): string {
  const place = port === 0 ? address : `${address.includes(':') ? `[${address}]` : address}:${port}`;
  const name = pod || reservedName(identity);
  return name ? `${name} ${place}` : place;
}

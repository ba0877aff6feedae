/** Live flow lines from each node's agent: follows the monitor stream of its debug socket, over restarts of the agent. */
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { pause } from './pause.ts';
import type { ClusterNode } from './registry.ts';

const RETRY_MS = 500;

/** Returns what ends it. */
export function followFlows(nodes: readonly ClusterNode[], say: (line: string) => void): () => void {
  const ended = new AbortController();
  for (const node of nodes) void followNode(node, say, ended.signal);
  return () => ended.abort();
}

async function followNode(
  { name, debugSocket }: ClusterNode,
  say: (line: string) => void,
  ended: AbortSignal,
): Promise<void> {
  while (!ended.aborted) {
    await stream(debugSocket, (line) => say(`${name}  ${line}`), ended);
    await pause(RETRY_MS, ended);
  }
}

/** Resolves when the stream ends, however. */
function stream(socketPath: string, say: (line: string) => void, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const call = request({ socketPath, path: '/v1/monitor?follow', agent: false, signal }, (response) => {
      if (response.statusCode !== 200) response.resume();
      else createInterface({ input: response }).on('line', (line) => say(textOf(line)));
      response.on('close', () => done());
      response.on('error', () => done());
    });
    call.on('error', () => done());
    call.end();
  });
}

function textOf(line: string): string {
  try {
    const { text } = JSON.parse(line) as { text?: unknown };
    return typeof text === 'string' ? text : line;
  } catch {
    return line;
  }
}

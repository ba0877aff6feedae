/**
 * Syslog (RFC 5424), over UDP (RFC 5426) or TCP (octet counting, RFC 6587), for a SIEM.
 *
 * - `cef` writes the message in ArcSight's Common Event Format; `json` as the file exporter does.
 * - Over UDP nobody says whether it arrived.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { protocolOf, summaryOf } from '../hubble/summary.ts';
import { type Flow, isoOf } from '../hubble/types.ts';
import { lineOf } from './file-sink.ts';
import type { Sink } from './sink.ts';

export interface SyslogOptions {
  host: string;
  port: number;
  transport: 'tcp' | 'udp';
  format: 'cef' | 'json';
  /** 0–23; 4 is security. */
  facility: number;
}

const SEVERITY = { warning: 4, informational: 6 };
const CONNECT_TIMEOUT_MS = 5_000;
/** RFC 5426 recommends that receivers take so much; a longer message is cut by us rather than by them. */
const DATAGRAM_MAX = 8_192;

export class SyslogSink implements Sink {
  readonly #options: SyslogOptions;
  readonly #version: string;
  #tcp: Socket | undefined;

  constructor(options: SyslogOptions, version: string) {
    this.#options = options;
    this.#version = version;
  }

  async send(batch: readonly Flow[]): Promise<void> {
    const messages = batch.map((flow) => Buffer.from(this.message(flow)));
    if (this.#options.transport === 'udp') return this.#sendDatagrams(messages);
    const socket = await this.#connected();
    const framed = Buffer.concat(messages.flatMap((text) => [Buffer.from(`${text.length} `), text]));
    await new Promise<void>((resolve, reject) => {
      socket.write(framed, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** One message, without framing. */
  message(flow: Flow): string {
    const { facility, format } = this.#options;
    const severity = flow.verdict === 'DROPPED' ? SEVERITY.warning : SEVERITY.informational;
    const host = flow.node_name.slice(flow.node_name.indexOf('/') + 1) || '-';
    const time = `${isoOf(flow.time).slice(0, 26)}Z`;
    const text = format === 'cef' ? cef(flow, this.#version) : JSON.stringify(lineOf(flow));
    return `<${facility * 8 + severity}>1 ${time} ${host} axoneme - flow - ${text}`;
  }

  async close(): Promise<void> {
    this.#tcp?.destroy();
  }

  async #sendDatagrams(messages: readonly Buffer[]): Promise<void> {
    const { host, port } = this.#options;
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    try {
      for (const text of messages) {
        await new Promise<void>((resolve, reject) =>
          socket.send(text.subarray(0, DATAGRAM_MAX), port, host, (error) => (error ? reject(error) : resolve())),
        );
      }
    } finally {
      socket.close();
    }
  }

  async #connected(): Promise<Socket> {
    if (this.#tcp?.writable) return this.#tcp;
    const { host, port } = this.#options;
    const socket = connect({ host, port, signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) });
    await once(socket, 'connect');
    // Whoever sends next finds it closed.
    socket.on('error', () => socket.destroy());
    this.#tcp = socket;
    return socket;
  }
}

/** `CEF:0|vendor|product|version|id|name|severity|extension`; bars, equal signs and line ends are escaped as the format says. */
function cef(flow: Flow, version: string): string {
  const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
  const isDrop = flow.verdict === 'DROPPED';
  const policies = [flow.egress_denied_by, flow.ingress_denied_by, flow.egress_allowed_by, flow.ingress_allowed_by];
  const names = policies.flatMap((list) => (list ?? []).map(({ namespace, name }) => `${namespace}/${name}`));
  const fields: [string, string | number | undefined][] = [
    ['rt', flow.time.seconds * 1000 + Math.floor(flow.time.nanos / 1e6)],
    ['act', flow.verdict],
    ['proto', protocolOf(flow)],
    ['src', flow.IP?.source],
    ['spt', ports?.source_port],
    ['dst', flow.IP?.destination],
    ['dpt', ports?.destination_port],
    ['reason', flow.drop_reason_desc],
    ['deviceDirection', flow.traffic_direction === 'EGRESS' ? 1 : 0],
    ['dvchost', flow.node_name],
    ['externalId', flow.uuid],
    ['suser', podOf(flow.source)],
    ['duser', podOf(flow.destination)],
    ['cs1Label', names.length > 0 ? 'policies' : undefined],
    ['cs1', names.length > 0 ? names.join(',') : undefined],
    ['msg', summaryOf(flow)],
  ];
  const extension = fields
    .filter(([, value]) => value !== undefined && value !== '')
    .map(([name, value]) => `${name}=${escaped(String(value), /[\\=\r\n]/g)}`)
    .join(' ');
  const head = ['Axoneme', 'axoneme', version, flow.verdict, isDrop ? 'Flow dropped' : 'Flow', isDrop ? '6' : '1'];
  return `CEF:0|${head.map((text) => escaped(text, /[\\|\r\n]/g)).join('|')}|${extension}`;
}

const escaped = (text: string, what: RegExp): string =>
  text.replace(what, (one) => (one === '\n' ? '\\n' : one === '\r' ? '\\r' : `\\${one}`));
const podOf = ({ namespace, pod_name }: Flow['source']): string => (pod_name ? `${namespace}/${pod_name}` : '');

/**
 * What is on the network between the nodes of an embedded cluster: every packet of the fabric's bridge, sorted by what an eavesdropper
 * sees of it.
 *
 * - tcpdump writes a file, which is read packet by packet when the capture ends: nothing is sampled, and drops of tcpdump are told.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { formatAddress, masked, type Prefix, parsePrefix } from '../../../datapath/address.ts';

/** `clear`: from pod to pod; `half`: between a pod and somebody who is none, such as a node. */
export type Seen = 'wireguard' | 'esp' | 'vxlan' | 'geneve' | 'clear' | 'half' | 'other';

export interface Underlay {
  packets: Readonly<Record<Seen, number>>;
  /** Of VXLAN and Geneve, as identities of sources: number to packets. */
  vnis: ReadonlyMap<number, number>;
  /** Packets from pod to pod that anybody can read, tunnelled ones too; the first few in words. */
  readable: readonly string[];
  /** That tcpdump did not get. */
  dropped: number;
}

export interface Ports {
  wireguard: number;
  vxlan: number;
  geneve: number;
}

const usualPorts: Ports = { wireguard: 51_871, vxlan: 8472, geneve: 6081 };
const BRIDGE = 'br0';
const SNAPLEN = 256;
const READABLE_MAX = 20;
const HANDED_OVER_MS = 1_200;
const ESP = 50;
const UDP = 17;

export class UnderlayCapture {
  readonly #child: ChildProcess;
  readonly #file: string;
  #errors = '';

  private constructor(child: ChildProcess, file: string) {
    this.#child = child;
    this.#file = file;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
  }

  /** In the namespace at a path; resolves once packets are taken. */
  static async start(netns: string, file: string): Promise<UnderlayCapture> {
    const tcpdump = [
      'tcpdump',
      '-n',
      '-U',
      '-B',
      '32768',
      '-s',
      String(SNAPLEN),
      '-i',
      BRIDGE,
      '-w',
      file,
      'ip or ip6',
    ];
    const child = spawn('nsenter', [`--net=${netns}`, ...tcpdump], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const capture = new UnderlayCapture(child, file);
    await new Promise<void>((listening, failed) => {
      child.once('error', failed);
      child.once('close', () => failed(new Error(`tcpdump ended: ${capture.#errors}`)));
      child.stderr?.on('data', () => capture.#errors.includes('listening on') && listening());
    });
    return capture;
  }

  async stop(podCidrs: readonly string[], ports: Ports = usualPorts): Promise<Underlay> {
    // The kernel hands packets over in blocks, at the latest after a second; what is not handed over at the end is lost.
    await new Promise((done) => setTimeout(done, HANDED_OVER_MS));
    const closed = new Promise((done) => this.#child.once('close', done));
    this.#child.kill('SIGINT');
    await closed;
    const dropped = Number(/(\d+) packets dropped by kernel/.exec(this.#errors)?.[1] ?? 0);
    try {
      return { ...sorted(readFileSync(this.#file), podCidrs, ports), dropped };
    } finally {
      rmSync(this.#file, { force: true });
    }
  }
}

/** Of a pcap file of Ethernet, as tcpdump writes it. */
export function sorted(
  pcap: Buffer,
  podCidrs: readonly string[],
  ports: Ports = usualPorts,
): Omit<Underlay, 'dropped'> {
  const pods = podCidrs.map((cidr) => parsePrefix(cidr));
  const packets: Record<Seen, number> = { wireguard: 0, esp: 0, vxlan: 0, geneve: 0, clear: 0, half: 0, other: 0 };
  const vnis = new Map<number, number>();
  const readable: string[] = [];
  for (const frame of frames(pcap)) {
    const outer = headers(frame.subarray(12));
    if (!outer) {
      packets.other++;
      continue;
    }
    const inner = unwrap(outer, pods, ports);
    packets[inner.seen]++;
    if (inner.vni !== undefined) vnis.set(inner.vni, (vnis.get(inner.vni) ?? 0) + 1);
    const bare = inner.seen === 'clear' ? outer : inner.headers;
    if (bare && podsIn(bare, pods) === 2 && readable.length < READABLE_MAX) {
      readable.push(`${inner.seen}: ${bare.src} > ${bare.dst} protocol ${bare.protocol}`);
    }
  }
  return { packets, vnis, readable };
}

function* frames(pcap: Buffer): Generator<Buffer> {
  for (let at = 24; at + 16 <= pcap.length; ) {
    const length = pcap.readUInt32LE(at + 8);
    yield pcap.subarray(at + 16, at + 16 + length);
    at += 16 + length;
  }
}

interface Headers {
  src: string;
  dst: string;
  protocol: number;
  payload: Buffer;
}

/** From the EtherType on. */
function headers(from: Buffer): Headers | undefined {
  if (from.length < 42) return undefined;
  const ip = from.subarray(2);
  if (from.readUInt16BE(0) === 0x0800) {
    const [src, dst] = [ip.subarray(12, 16), ip.subarray(16, 20)].map(formatAddress) as [string, string];
    // Of a later fragment the payload has no header of its own.
    const isFirst = (ip.readUInt16BE(6) & 0x1fff) === 0;
    const payload = isFirst ? ip.subarray(((ip[0] ?? 0) & 0xf) * 4) : Buffer.alloc(0);
    return { src, dst, protocol: ip[9] ?? 0, payload };
  }
  if (from.readUInt16BE(0) !== 0x86dd) return undefined;
  const [src, dst] = [ip.subarray(8, 24), ip.subarray(24, 40)].map(formatAddress) as [string, string];
  return { src, dst, protocol: ip[6] ?? 0, payload: ip.subarray(40) };
}

function unwrap(
  outer: Headers,
  pods: readonly Prefix[],
  ports: Ports,
): { seen: Seen; vni?: number; headers?: Headers | undefined } {
  const { protocol, payload } = outer;
  if (protocol === ESP) return { seen: 'esp' };
  if (protocol === UDP && payload.length >= 16) {
    const port = payload.readUInt16BE(2);
    if (port === ports.wireguard) return { seen: 'wireguard' };
    const tunnel = payload.subarray(8);
    if (port === ports.vxlan) {
      return { seen: 'vxlan', vni: tunnel.readUIntBE(4, 3), headers: headers(tunnel.subarray(8 + 12)) };
    }
    if (port === ports.geneve) {
      const options = ((tunnel[0] ?? 0) & 0x3f) * 4;
      return { seen: 'geneve', vni: tunnel.readUIntBE(4, 3), headers: headers(tunnel.subarray(8 + options + 12)) };
    }
  }
  return { seen: (['other', 'half', 'clear'] as const)[podsIn(outer, pods)] ?? 'other' };
}

/** How many of the two ends are pods. */
function podsIn({ src, dst }: Pick<Headers, 'src' | 'dst'>, pods: readonly Prefix[]): number {
  return [src, dst].filter((address) => {
    const bytes = parsePrefix(`${address}/${address.includes(':') ? 128 : 32}`).bytes;
    return pods.some((range) => range.bytes.length === bytes.length && startsWith(bytes, range.bytes, range.length));
  }).length;
}

const startsWith = (bytes: Buffer, prefix: Buffer, bits: number): boolean => masked(bytes, bits).equals(prefix);

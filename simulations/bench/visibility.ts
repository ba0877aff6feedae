/**
 * What telling of packets costs each packet of an established connection: nanoseconds of the program by test run, with traces (default
 * aggregation) and without, right after each other in the order A B B A.
 *
 *   node simulations/bench/visibility.ts [ROUNDS]
 *
 * - pod-to-pod.ts measures the same by bulk TCP, whose own moods are a fifth; here is nothing but the program, which a packet meets once.
 * - Beside it what one told packet costs more: at the default aggregation that is one in five seconds of a connection, and each new flag.
 * - Exit code 1 when a packet costs more than 3 % with traces.
 */
import { join } from 'node:path';
import { ip as packet, tcp, tcpFlags } from '../../bpf/test/packet.ts';
import { ifNameToIndex, isErrno, skbContext, withNetns } from '../../native/index.ts';
import { attachDatapath, type WiredNode, wireNode } from '../wired-node.ts';

const rounds = Number(process.argv[2] ?? 400);
const HOPS_MAX = 200;
const COST_MAX = 1.03;
const levels = { none: 0, medium: 2, off: 4 } as const;
const object = join(import.meta.dirname, '../../bpf/build/datapath.o');

interface Side {
  /** Nanoseconds of a run. */
  run(): number;
  close(): void;
}

function side(name: string, traceAggregation: number): Side {
  const node = wireNode(`axb-${process.pid}-${name}-`, 2);
  try {
    const datapath = attachDatapath(node, object, { traceAggregation });
    const program = datapath.object.program('from_endpoint');
    const data = acknowledgement(node);
    const [from] = node.pods;
    const ifindex = ifNameToIndex(from?.link ?? '', node.netns);
    const ctx = skbContext({ ifindex, ingressIfindex: ifindex });
    const run = (): number => {
      try {
        return withNetns(node.netns, () => program.testRun({ data, ctx, repeat: HOPS_MAX }).durationNs);
      } catch (error) {
        // The kernel gives up a test run for any signal of the process.
        if (isErrno(error, 'EINTR')) return run();
        throw error;
      }
    };
    run();
    return {
      run,
      close: () => {
        datapath.close();
        node.remove();
      },
    };
  } catch (error) {
    node.remove();
    throw error;
  }
}

function acknowledgement({ pods: [from, to] }: WiredNode): Buffer {
  if (!from || !to) throw new Error('two pods were asked for');
  const ends = { from: from.ipv4, to: to.ipv4, ttl: 255, ethDest: from.hostMac };
  return packet(ends, tcp(4000, 80, tcpFlags.ack, Buffer.alloc(1400)));
}

const sides: Side[] = [];
try {
  const [on, off, every] = [side('on', levels.medium), side('off', levels.off), side('all', levels.none)] as const;
  sides.push(on, off, every);
  const pairs: { on: number; off: number }[] = [];
  const told: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? ([on, off] as const) : ([off, on] as const);
    const [first, second] = order.map((one) => one.run()) as [number, number];
    pairs.push(round % 2 === 0 ? { on: first, off: second } : { on: second, off: first });
    told.push(every.run());
  }
  const ratio = median(pairs.map((pair) => pair.on / pair.off));
  const ns = (values: readonly number[]): string => `${median(values).toFixed(0)} ns`;
  console.log(`a packet of an established connection, from_endpoint, ${rounds} pairs`);
  console.log(`  with traces     ${ns(pairs.map((pair) => pair.on))}`);
  console.log(`  without         ${ns(pairs.map((pair) => pair.off))}`);
  console.log(`  ratio of pairs  ${ratio.toFixed(3)}  target ≤ ${COST_MAX}: ${ratio <= COST_MAX ? 'met' : 'MISSED'}`);
  console.log(`  each packet told of (aggregation none; the ring full, so without writing) ${ns(told)}`);
  if (ratio > COST_MAX) process.exitCode = 1;
} finally {
  for (const one of sides) one.close();
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

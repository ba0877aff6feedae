/**
 * Fills a ring buffer with events of the real programs, which run on packets: `producer.ts PINS RATE SECONDS`, RATE 0 as fast as it goes.
 *
 * - It never comes to its event loop while it produces, so the harness, which reads the ring too, never reads.
 * - Says "ready" when the maps are pinned and begins on a line of its input; the last line it prints is how many events it made.
 */
import { readSync } from 'node:fs';
import { Bench, families } from '../../../bpf/test/harness.ts';
import { ip, tcp, tcpFlags, udp } from '../../../bpf/test/packet.ts';
import { isErrno, skbContext, withNetns } from '../../../native/index.ts';

const [pinFolder = '', rateText = '0', secondsText = '1'] = process.argv.slice(2);
const [rate, seconds] = [Number(rateText), Number(secondsText)];
/** A packet loses a hop in each run. */
const REPEAT = 50;
const PORTS = 512;
const SLICE_MS = 1;

const bench = new Bench(`flows-${process.pid}`, { pinFolder, config: { traceAggregation: 0 } });
try {
  const context = (link: 'lxca' | 'lxcb') =>
    skbContext({ ifindex: bench.ifindex(link), ingressIfindex: bench.ifindex(link) });
  const ctx = context('lxca');
  const program = bench.object.program('from_endpoint');
  // Pod to pod, both families, and a packet that is dropped: each gives two events, or one.
  const packets = Array.from({ length: PORTS }, (_, index) => {
    const f = families[index & 1] ?? families[0];
    const port = 32_768 + index;
    if (index % 8 === 7) return { data: ip({ from: f.b, to: f.a, ttl: 255 }, udp(port, 53)), events: 1 };
    const segment = index % 4 === 0 ? udp(port, 53) : tcp(port, 80, index % 4 === 1 ? tcpFlags.syn : tcpFlags.ack);
    return { data: ip({ from: f.a, to: f.b, ttl: 255 }, segment), events: 2 };
  });
  process.stdout.write('ready\n');
  readSync(0, Buffer.alloc(16));
  const made = withNetns(bench.netns, () => produce());
  process.stdout.write(`${made}\n`);

  function produce(): number {
    const begin = performance.now();
    const nap = new Int32Array(new SharedArrayBuffer(4));
    let events = 0;
    let turn = 0;
    for (;;) {
      const elapsed = performance.now() - begin;
      if (elapsed >= seconds * 1000) return events;
      if (rate > 0 && events >= (rate * elapsed) / 1000) {
        Atomics.wait(nap, 0, 0, SLICE_MS);
        continue;
      }
      const packet = packets[turn++ % PORTS] as (typeof packets)[number];
      // New connections give verdicts where there is policy, and here nothing more.
      try {
        program.testRun({ data: packet.data, ctx, repeat: REPEAT });
        events += packet.events * REPEAT;
      } catch (error) {
        if (!isErrno(error, 'EINTR')) throw error;
      }
    }
  }
} finally {
  bench.close();
}

// SPDX-License-Identifier: Apache-2.0
/** Which backend clients outside of the node get, packet by packet: Maglev tables, session affinity, and what is said when there is none. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families } from './harness.ts';
import { dissect, ip, protocols, type Transport, tcp, tcpFlags, udp } from './packet.ts';
import {
  clearServices,
  clientHash,
  frontendFlags,
  type Proto,
  putBackend,
  putFrontend,
  putMaglev,
  putSet,
} from './services.ts';

const { syn } = tcpFlags;
const nodePort = 30080;

const bench = new Bench('choice', { config: { traceAggregation: 1 } });
afterAll(() => bench.close());
beforeEach(() => {
  clearServices(bench);
  for (const pod of ['a', 'b'] as const) bench.endpoint(pod);
});

for (const f of families) {
  const words = (() => {
    const bytes = f.v6
      ? Buffer.from('20010db8009900000000000000000009', 'hex')
      : Buffer.from('00000000000000000000ffffcb007109', 'hex');
    return [0, 4, 8, 12].map((at) => bytes.readUInt32BE(at));
  })();
  const come = (to: string, transport: Transport, from: string = f.world, on: Bench = bench) => {
    const outcome = on.run('from_netdev', 'eth0', ip({ from, to }, transport));
    return { ...outcome, packet: dissect(outcome.data) };
  };
  const serve = (
    proto: Proto,
    addrs: readonly string[],
    options: { port?: number; flags?: number; on?: Bench } = {},
  ) => {
    const { port = 8080, flags: frontend = frontendFlags.nodePort, on = bench } = options;
    addrs.forEach((addr, index) => {
      putBackend(on, { id: 100 + index, addr, port }, proto);
    });
    putSet(
      on,
      1,
      addrs.map((_, index) => 100 + index),
    );
    putFrontend(on, { addr: f.node, port: nodePort, proto }, { flags: frontend });
  };

  describe(f.name, () => {
    describe('no backend', () => {
      test('TCP is refused with RST, UDP with port unreachable, to where the packet came from', () => {
        serve('tcp', []);
        const there = come(f.node, tcp(5000, nodePort, syn));
        expect([there.verdict, there.drops, there.packet]).toMatchObject([
          'redirect',
          ['SERVICE_BACKEND_NOT_FOUND'],
          { from: f.node, to: f.world, sport: nodePort, dport: 5000, checksums: 'ok', ethDest: '02:00:00:00:00:aa' },
        ]);
        serve('udp', []);
        expect(come(f.node, udp(5000, nodePort))).toMatchObject({
          verdict: 'redirect',
          packet: { from: f.node, icmpType: f.v6 ? 1 : 3, checksums: 'ok', inner: { to: f.node, dport: nodePort } },
        });
      });

      test('externalTrafficPolicy Local: dropped without an answer, another node may have one', () => {
        serve('tcp', [], { flags: frontendFlags.nodePort | frontendFlags.externalLocal });
        expect(come(f.node, tcp(5000, nodePort, syn))).toMatchObject({
          verdict: 'drop',
          drops: ['SERVICE_BACKEND_NOT_FOUND'],
        });
      });

      test('configured to drop: dropped', () => {
        const silent = new Bench('outside-silent', { config: { serviceReject: 0 } });
        try {
          serve('tcp', [], { on: silent });
          expect(come(f.node, tcp(5000, nodePort, syn), f.world, silent).verdict).toBe('drop');
        } finally {
          silent.close();
        }
      });
    });

    describe('Maglev', () => {
      test('the backend is the one in the table at the client’s hash', () => {
        const table = Array.from({ length: 251 }, (_, i) => 100 + i);
        table.forEach((id, i) => {
          putBackend(bench, { id, addr: f.v6 ? `fd00:7::${i + 1}` : `10.0.7.${i + 1}`, port: 80 }, 'tcp');
        });
        putSet(bench, 1, table, { maglev: table });
        putFrontend(bench, { addr: f.node, port: nodePort, proto: 'tcp' }, { flags: frontendFlags.nodePort });
        for (let sport = 5000; sport < 5050; sport++) {
          come(f.node, tcp(sport, nodePort, syn));
          const slot = clientHash([...words, sport * 65536 + nodePort, protocols.tcp]) % 251;
          const flow = bench.get('service_flows', {
            saddr: f.world,
            daddr: f.node,
            sport,
            dport: nodePort,
            proto: protocols.tcp,
            direction: 0,
          });
          expect(flow?.['backendId']).toBe(table[slot]);
        }
      });

      test('with affinity the client’s port does not count', () => {
        putBackend(bench, { id: 100, addr: f.b, port: 80 }, 'tcp');
        putBackend(bench, { id: 101, addr: f.remote, port: 80 }, 'tcp');
        const table = Array.from({ length: 251 }, (_, i) => 100 + (i % 2));
        putSet(bench, 1, [100, 101], { maglev: table, affinityTimeout: 10 });
        putFrontend(bench, { addr: f.node, port: nodePort, proto: 'tcp' }, { flags: frontendFlags.nodePort });
        const slot = clientHash([...words, nodePort, protocols.tcp]) % 251;
        for (let sport = 5000; sport < 5010; sport++) {
          bench.clear('affinity');
          expect(come(f.node, tcp(sport, nodePort, syn)).packet.to).toBe(table[slot] === 100 ? f.b : f.remote);
        }
      });

      test('a table that leads nowhere, or is not there: any backend', () => {
        serve('tcp', [f.b]);
        bench.put('backend_sets', 1, { count: 1, maglevSize: 251, affinityTimeout: 0 });
        expect(come(f.node, tcp(5000, nodePort, syn)).packet.to).toBe(f.b);
        putMaglev(bench, 1, new Array<number>(251).fill(999));
        expect(come(f.node, tcp(5001, nodePort, syn)).packet.to).toBe(f.b);
      });
    });

    describe('session affinity', () => {
      const clients = Array.from({ length: 30 }, (_, i) => i);
      const affine = (timeout: number) => {
        serve('tcp', [f.b, f.remote]);
        putSet(bench, 1, [100, 101], { affinityTimeout: timeout });
      };
      const backendOf = (sport: number, from: string = f.world) =>
        come(f.node, tcp(sport, nodePort, syn), from).packet.to;

      test('all connections of a client go to one backend', () => {
        affine(10);
        expect(new Set(clients.map((i) => backendOf(5000 + i))).size).toBe(1);
        expect(bench.entries('affinity')).toHaveLength(1);
      });

      test('after the timeout it is forgotten', () => {
        affine(10);
        backendOf(5000);
        const seen = new Set<string>();
        for (const i of clients) {
          for (const { key, value } of bench.entries('affinity'))
            bench.put('affinity', key, { ...value, lastUsed: Number(value['lastUsed']) - 11 });
          seen.add(backendOf(5100 + i));
        }
        expect(seen).toEqual(new Set([f.b, f.remote]));
      });

      test('a backend that left the set is not kept', () => {
        affine(10);
        const first = backendOf(5000);
        bench.clear('affinity_matches');
        const [gone, stays, to] = first === f.b ? [100, 101, f.remote] : [101, 100, f.b];
        putSet(bench, 1, [stays], { affinityTimeout: 10 });
        expect(backendOf(5001)).toBe(to);
        expect(bench.entries('affinity')[0]?.value['backend']).not.toBe(gone);
      });

      test('pods have it too', () => {
        affine(10);
        const seen = clients.map(
          (i) =>
            dissect(
              bench.run('from_endpoint', 'lxca', ip({ from: f.a, to: f.node }, tcp(4000 + i, nodePort, syn))).data,
            ).to,
        );
        expect(new Set(seen).size).toBe(1);
      });
    });
  });
}

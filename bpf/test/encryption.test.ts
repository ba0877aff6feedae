// SPDX-License-Identifier: Apache-2.0
/** Encryption between nodes: who is handed to WireGuard or marked for IPsec, and that nothing that must be encrypted leaves in clear. */
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { families, flags, identities } from './harness.ts';
import { encryptions, marks, OverlayBench } from './overlay-bench.ts';
import { dissect, ip, raw, tcp, tcpFlags, udp } from './packet.ts';

const ESP = 50;
const trace = { toCrypto: 13 } as const;
const native = { tunnel: 0, tunnelPort: 0 };
const strictCidrs = { encryptionStrict: 1, strictIpv4: '10.0.0.0/8', strictIpv6: 'fd00::/16' };
const UNENCRYPTED = ['UNENCRYPTED_TRAFFIC'];
const wireguardKey = 255;
const unknownPod = { v4: '10.0.9.9', v6: 'fd00:9::9' };

describe('WireGuard over native routing', () => {
  const config = { ...native, encryption: encryptions.wireguard, traceAggregation: 0 };
  const bench = new OverlayBench('wireguard', { config, encryptKey: wireguardKey, programs: ['to_netdev'] });
  afterAll(() => bench.close());
  beforeEach(() => bench.clear('conntrack', 'nat'));

  for (const f of families)
    describe(f.name, () => {
      const leave = (from: string, to: string, mark = 0) =>
        bench.send('to_netdev', 'eth0', ip({ from, to }, udp(40_000, 53)), { mark });

      test('a pod’s packet to a pod of a node with a key is handed to cilium_wg0 as it is', () => {
        const { verdict, data, events } = leave(f.a, f.remote);
        expect([verdict, dissect(data)]).toMatchObject(['redirect', { from: f.a, to: f.remote, checksums: 'ok' }]);
        expect(events).toMatchObject([
          { type: 2, subtype: trace.toCrypto, ifindex: bench.ifindex('wg'), srcIdentity: 1001, dstIdentity: 1003 },
        ]);
      });

      test('so is one to a pod that is not known yet, by the range of its node', () => {
        expect(leave(f.a, f.v6 ? 'fd00:1::55' : '10.0.1.55').verdict).toBe('redirect');
      });

      test('what WireGuard has encrypted goes, whoever it is for', () => {
        expect(leave(f.node, f.node2, marks.wireguard).verdict).toBe('pass');
      });

      test('the node’s own packets and those to the world are not WireGuard’s', () => {
        expect(leave(f.node, f.remote).verdict).toBe('pass');
        expect(leave(f.node, f.node2).verdict).toBe('pass');
        expect(leave(f.a, f.native).verdict).toBe('pass');
      });

      test('what a service translated towards a pod that has no key passes', () => {
        expect(leave(f.node, f.remote, 0x0300).verdict).toBe('pass');
      });
    });

  test('without the device: dropped, not sent in clear', () => {
    const [f] = families;
    const row = bench.get('devices', 2);
    bench.object.map('devices').delete(bench.encodeKey('devices', 2));
    const { verdict, drops } = bench.send('to_netdev', 'eth0', ip({ from: f.a, to: f.remote }, udp(40_000, 53)));
    bench.put('devices', 2, row ?? {});
    expect([verdict, drops]).toEqual(['drop', UNENCRYPTED]);
  });
});

describe('WireGuard for nodes too', () => {
  const config = { ...native, encryption: encryptions.wireguard, nodeEncryption: 1 };
  const bench = new OverlayBench('wireguard-nodes', { config, encryptKey: wireguardKey, programs: ['to_netdev'] });
  afterAll(() => bench.close());

  for (const f of families)
    test(`${f.name}: what the node sends to a node with a key is encrypted, once`, () => {
      bench.ipcache(`${f.node2}/${f.bits}`, identities.node2, { encryptKey: wireguardKey });
      const packet = ip({ from: f.node, to: f.node2 }, udp(51_871, 51_871));
      expect(bench.send('to_netdev', 'eth0', packet).verdict).toBe('redirect');
      expect(bench.send('to_netdev', 'eth0', packet, { mark: marks.wireguard }).verdict).toBe('pass');
    });
});

describe('strict mode', () => {
  const config = { ...native, encryption: encryptions.wireguard, ...strictCidrs };
  const bench = new OverlayBench('strict', { config, encryptKey: wireguardKey, programs: ['to_netdev'] });
  afterAll(() => bench.close());
  beforeEach(() => bench.clear('conntrack', 'nat'));

  for (const f of families)
    describe(f.name, () => {
      const unknown = f.v6 ? unknownPod.v6 : unknownPod.v4;
      const leave = (from: string, to: string) =>
        bench.send('to_netdev', 'eth0', ip({ from, to }, udp(40_000, 53))) as { verdict: string; drops: string[] };

      test('a peer that nobody knows yet: dropped', () => {
        expect(leave(f.a, unknown)).toMatchObject({ verdict: 'drop', drops: UNENCRYPTED });
      });

      test('neither end is known, as at boot: dropped by the range of pods', () => {
        expect(leave(unknown, f.v6 ? 'fd00:8::8' : '10.0.8.8')).toMatchObject({ verdict: 'drop', drops: UNENCRYPTED });
      });

      test('a peer of a node without a key: dropped, outside of the range too', () => {
        const far = f.v6 ? '2001:db8:77::1' : '198.18.0.1';
        bench.ipcache(`${far}/${f.bits}`, 3333);
        expect(leave(f.a, far)).toMatchObject({ verdict: 'drop', drops: UNENCRYPTED });
        bench.clearIpcache(`${far}/${f.bits}`);
      });

      test('the world, nodes and what the node itself sends pass', () => {
        const passes = [
          [f.a, f.world],
          [f.a, f.node2],
          [f.gateway, unknown],
          [f.node, f.remote],
          [f.a, f.native],
        ] as const;
        for (const [from, to] of passes) expect(leave(from, to).verdict, `${from} to ${to}`).toBe('pass');
      });

      test('a peer with a key goes to WireGuard', () => expect(leave(f.a, f.remote).verdict).toBe('redirect'));

      test('at a device that no row tells of, too', () => {
        expect(bench.send('to_netdev', 'lxcb', ip({ from: f.a, to: unknown }, udp(40_000, 53)))).toMatchObject({
          verdict: 'drop',
          drops: UNENCRYPTED,
        });
      });
    });
});

describe('WireGuard over a tunnel', () => {
  const config = { encryption: encryptions.wireguard, ...strictCidrs };
  const bench = new OverlayBench('wireguard-vxlan', {
    config,
    encryptKey: wireguardKey,
    programs: ['from_endpoint', 'from_host', 'to_netdev'],
  });
  afterAll(() => bench.close());
  beforeEach(() => bench.clear('conntrack', 'nat'));

  for (const f of families)
    describe(f.name, () => {
      test('a packet is wrapped and marked; the outer one is handed to cilium_wg0', () => {
        const outcome = bench.send('from_endpoint', 'lxca', ip({ from: f.a, to: f.remote }, udp(4000, 53)));
        expect([outcome.tunnel?.vni, outcome.mark]).toEqual([identities.a, marks.encrypt]);
        const outer = ip({ from: families[0].node, to: families[0].node2 }, udp(40_000, 8472));
        expect(bench.send('to_netdev', 'eth0', outer, { mark: outcome.mark }).verdict).toBe('redirect');
        expect(bench.send('to_netdev', 'eth0', outer, { mark: marks.wireguard }).verdict).toBe('pass');
      });

      test('to a pod of a node without a key: dropped before it is wrapped', () => {
        const address = `${f.remote}/${f.bits}`;
        bench.ipcache(address, identities.remote, { tunnelEndpoint: families[0].node2 });
        const packet = ip({ from: f.a, to: f.remote }, udp(4000, 53));
        expect(bench.send('from_endpoint', 'lxca', packet)).toMatchObject({ verdict: 'drop', drops: UNENCRYPTED });
        expect(bench.send('from_host', 'chost', packet)).toMatchObject({ verdict: 'drop', drops: UNENCRYPTED });
        bench.ipcache(address, identities.remote, { tunnelEndpoint: families[0].node2, encryptKey: wireguardKey });
      });

      test('the node’s own packet to a pod without a key goes by tunnel, in clear', () => {
        const address = `${f.remote}/${f.bits}`;
        bench.ipcache(address, identities.remote, { tunnelEndpoint: families[0].node2 });
        const { mark } = bench.send('from_host', 'chost', ip({ from: f.gateway, to: f.remote }, udp(4000, 53)));
        bench.ipcache(address, identities.remote, { tunnelEndpoint: families[0].node2, encryptKey: wireguardKey });
        expect(mark & marks.mask).toBe(marks.overlay);
      });
    });
});

for (const [mode, tunnel] of [
  ['native routing', native],
  ['a tunnel', {}],
] as const)
  describe(`IPsec over ${mode}`, () => {
    const bench = new OverlayBench(`ipsec-${mode.slice(-6).trim()}`, {
      config: { ...tunnel, encryption: encryptions.ipsec, traceAggregation: 0 },
      encryptKey: 3,
      programs: ['from_endpoint', 'from_netdev', 'to_netdev'],
    });
    const [{ node2 }] = families;
    const marked = (key: number, nodeId: number) => (marks.encrypt | (key << 12) | (nodeId << 16)) >>> 0;
    afterAll(() => bench.close());
    beforeEach(() => {
      bench.clear('conntrack', 'nat');
      bench.put('nodes', node2, { nodeId: 0x9234, encryptKey: 0 });
    });

    for (const f of families)
      describe(f.name, () => {
        const leave = () => bench.send('from_endpoint', 'lxca', ip({ from: f.a, to: f.remote }, udp(4000, 53)));
        const verdict = mode === 'a tunnel' ? 'redirect' : 'pass';

        test('a packet to a pod of a node with a key is marked with key and node', () => {
          expect(leave()).toMatchObject({ verdict, mark: marked(3, 0x9234) });
        });

        test('the node’s own key goes first', () => {
          bench.put('nodes', node2, { nodeId: 7, encryptKey: 4 });
          expect(leave()).toMatchObject({ verdict, mark: marked(4, 7) });
        });

        test('a node without a number: dropped', () => {
          bench.clear('nodes');
          expect(leave()).toMatchObject({ verdict: 'drop', drops: ['NO_NODE_ID'] });
        });

        test('policy is asked before', () => {
          bench.endpoint('a', { flags: flags.enforceEgress });
          bench.policy('a', []);
          const drops = leave().drops;
          bench.endpoint('a');
          expect(drops).toEqual(['POLICY_DENIED']);
        });

        test('at the device ESP passes; what XFRM did not take is dropped', () => {
          const esp = ip({ from: f.node, to: f.node2 }, raw(ESP, Buffer.alloc(32)));
          const mark = marked(3, 0x9234);
          expect(bench.send('to_netdev', 'eth0', esp, { mark }).verdict).toBe('pass');
          const clear = ip({ from: f.a, to: f.remote }, udp(40_000, 53));
          for (const one of [mark, 0])
            expect(bench.send('to_netdev', 'eth0', clear, { mark: one })).toMatchObject({ drops: UNENCRYPTED });
        });

        test('ESP of a known node is marked with its number, for XFRM; of others it is left alone', () => {
          const esp = (from: string) => ip({ from, to: f.node }, raw(ESP, Buffer.alloc(32)));
          bench.put('nodes', f.node2, { nodeId: 0x9234, encryptKey: 3 });
          expect(bench.send('from_netdev', 'eth0', esp(f.node2))).toMatchObject({
            verdict: 'pass',
            mark: (marks.decrypt | (0x9234 << 16)) >>> 0,
          });
          expect(bench.send('from_netdev', 'eth0', esp(f.world))).toMatchObject({ verdict: 'pass', mark: 0 });
        });

        test('decrypted, a packet to a pod is delivered under its policy', () => {
          const packet = ip({ from: f.remote, to: f.a }, tcp(4000, 80, tcpFlags.syn));
          const met = () => bench.send('from_netdev', 'eth0', packet, { mark: marks.decrypt | (7 << 16) });
          expect(met().verdict).toBe('redirect');
          bench.endpoint('a', { flags: flags.enforceIngress, policyRevision: 2 });
          bench.policy('a', []);
          const { drops } = met();
          bench.endpoint('a');
          expect(drops).toEqual(['POLICY_DENIED']);
        });
      });
  });

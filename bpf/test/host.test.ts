// SPDX-License-Identifier: Apache-2.0
/** Policy of the node itself: who reaches its processes and whom they reach, and what is none of its business. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { closeFd, dialTcp, listenTcp, localAddress } from '../../native/index.ts';
import { Bench, families, flags, identities, type PolicyEntry } from './harness.ts';
import { echo, ip, type Transport, tcp, tcpFlags, udp } from './packet.ts';

const { syn, ack } = tcpFlags;
const TCP = 6;
const bench = new Bench('host', {
  config: { hostFirewall: 1, allowLocalhost: 0, masqueradeIpv4: 0, masqueradeIpv6: 0 },
});
afterAll(() => bench.close());

for (const f of families) {
  const inward = (transport: Transport, from: string = f.world) =>
    bench.run('from_netdev', 'eth0', ip({ from, to: f.node }, transport));
  const outward = (transport: Transport, to: string = f.world) =>
    bench.run('to_netdev', 'eth0', ip({ from: f.node, to }, transport));
  const fromPod = (transport: Transport) =>
    bench.run('from_endpoint', 'lxca', ip({ from: f.a, to: f.node }, transport));
  const enforce = (bits: number, ...entries: PolicyEntry[]): void => {
    bench.policy('host', entries);
    bench.host(bits);
  };
  const ssh = tcp(40_000, 22, syn);

  describe(f.name, () => {
    beforeEach(() => {
      bench.clear('conntrack', 'policy');
      bench.endpoint('a');
      bench.endpoint('b');
      bench.host(0);
    });

    test('without a policy everything passes, and is tracked', () => {
      expect([inward(ssh).verdict, outward(udp(5353, 53)).verdict, fromPod(ssh).verdict]).toEqual([
        'pass',
        'pass',
        'pass',
      ]);
      expect(bench.entries('conntrack').length).toBe(3);
    });

    test('ingress: what no entry allows is dropped, from the network and from its pods', () => {
      enforce(flags.enforceIngress);
      expect([inward(ssh).drops, fromPod(ssh).drops]).toEqual([['POLICY_DENIED'], ['POLICY_DENIED']]);
      expect(inward(echo('request', 7)).drops).toEqual(['POLICY_DENIED']);
      expect(bench.entries('conntrack')).toEqual([]);
    });

    test('ingress: the identity of the peer and the port decide', () => {
      enforce(
        flags.enforceIngress,
        { direction: 'ingress', identity: f.worldIdentity, proto: TCP, dport: 22 },
        { direction: 'ingress', identity: identities.a, proto: TCP, dport: 10_250 },
      );
      expect([inward(ssh).verdict, inward(tcp(40_000, 23, syn)).verdict, inward(ssh, f.remote).verdict]).toEqual([
        'pass',
        'drop',
        'drop',
      ]);
      expect([fromPod(tcp(40_000, 10_250, syn)).verdict, fromPod(ssh).verdict]).toEqual(['pass', 'drop']);
    });

    test('egress: what no entry allows is dropped; replies to what was allowed in pass', () => {
      enforce(flags.enforceIngress | flags.enforceEgress, { direction: 'ingress', proto: TCP, dport: 22 });
      expect(outward(tcp(40_001, 443, syn)).drops).toEqual(['POLICY_DENIED']);
      expect(inward(ssh).verdict).toBe('pass');
      expect(outward(tcp(22, 40_000, syn | ack)).verdict).toBe('pass');
    });

    test('ingress: replies to what the node began pass', () => {
      enforce(flags.enforceIngress);
      expect(inward(udp(53, 5353)).verdict).toBe('drop');
      expect(outward(udp(5353, 53)).verdict).toBe('pass');
      expect(inward(udp(53, 5353)).verdict).toBe('pass');
    });

    test("egress: what the node sends to its own pods is its egress, and the pod's ingress", () => {
      const toPod = (transport: Transport) =>
        bench.run('to_endpoint', 'lxca', ip({ from: f.node, to: f.a }, transport));
      enforce(flags.enforceEgress, { direction: 'egress', identity: identities.a, proto: TCP, dport: 8080 });
      expect([toPod(tcp(40_000, 8080, syn)).verdict, toPod(tcp(40_000, 8081, syn)).drops]).toEqual([
        'pass',
        ['POLICY_DENIED'],
      ]);
      // What a pod began is answered.
      expect(fromPod(ssh).verdict).toBe('pass');
      expect(toPod(tcp(22, 40_000, syn | ack)).verdict).toBe('pass');
    });

    test('a connection is cut when it is no longer allowed', () => {
      enforce(flags.enforceIngress, { direction: 'ingress', proto: TCP, dport: 22 });
      expect(inward(ssh).verdict).toBe('pass');
      enforce(flags.enforceIngress);
      bench.policyRevision(1);
      expect(inward(tcp(40_000, 22, ack)).drops).toEqual(['POLICY_DENIED']);
      bench.policyRevision(0);
    });

    test('audit: what is denied passes and is told', () => {
      enforce(flags.enforceIngress | flags.audit);
      const { verdict, events } = inward(ssh);
      expect(verdict).toBe('pass');
      expect(events).toContainEqual(expect.objectContaining({ type: 3, subtype: 2, endpointId: 65_536 }));
    });

    test('what passes through the node to and from its pods is not its own', () => {
      enforce(flags.enforceIngress | flags.enforceEgress);
      const toPod = bench.run('from_netdev', 'eth0', ip({ from: f.world, to: f.a }, ssh));
      expect(toPod.verdict).toBe('redirect');
      expect(bench.run('to_netdev', 'eth0', ip({ from: f.a, to: f.world }, udp(1, 2))).verdict).toBe('pass');
    });

    test('a pod cannot send to the place of the node among endpoints', () => {
      const packet = ip({ from: f.a, to: f.v6 ? '::' : '0.0.0.0' }, udp(1, 2));
      expect(bench.run('from_endpoint', 'lxca', packet).verdict).not.toBe('redirect-peer');
    });

    test('a connection that the node began before goes on, one to its listener does not', async () => {
      const netns = `/run/netns/axt-${process.pid}-host`;
      const fd = listenTcp({ netns, address: f.node, port: 0 });
      const { port } = localAddress(fd);
      const server = createServer().listen({ fd });
      await once(server, 'listening');
      let client: Socket | undefined;
      try {
        client = await dialTcp({ netns, address: f.node, port });
        const own = client.localPort ?? 0;
        enforce(flags.enforceIngress);
        const peer = (sport: number, dport: number) => inward(tcp(sport, dport, ack), f.node).verdict;
        expect([peer(port, own), peer(own, port), peer(port, 1)]).toEqual(['pass', 'drop', 'drop']);
      } finally {
        client?.destroy();
        server.close();
        try {
          closeFd(fd);
        } catch {
          // The server closed it.
        }
      }
    });
  });
}

test('a UDP exchange that the node began before goes on, by a socket that is connected to its peer', async () => {
  const netns = `/run/netns/axt-${process.pid}-host`;
  const { node, world, worldPort } = { node: families[0]?.node ?? '', world: families[0]?.world ?? '', worldPort: 53 };
  const script = `
    const socket = require('node:dgram').createSocket('udp4');
    socket.bind(0, '${node}', () => socket.connect(${worldPort}, '${world}', () => console.log(socket.address().port)));`;
  const child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const own = Number(line.toString());
    bench.clear('conntrack', 'policy');
    bench.policy('host', []);
    bench.host(flags.enforceIngress);
    const inward = (sport: number, dport: number) =>
      bench.run('from_netdev', 'eth0', ip({ from: world, to: node }, udp(sport, dport))).verdict;
    expect([inward(worldPort, own), inward(worldPort + 1, own), inward(worldPort, own + 1)]).toEqual([
      'pass',
      'drop',
      'drop',
    ]);
  } finally {
    child.kill();
    await once(child, 'exit');
  }
});

test('IPv6: link-local addresses of the node are its own', () => {
  bench.clear('conntrack');
  bench.policy('host', []);
  bench.host(flags.enforceIngress);
  const to = 'fe80::1';
  const packet = (transport: Transport) => ip({ from: 'fe80::2', to }, transport);
  expect(bench.run('from_netdev', 'eth0', packet(tcp(1, 22, syn))).drops).toEqual(['POLICY_DENIED']);
});

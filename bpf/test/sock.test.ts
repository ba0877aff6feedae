// SPDX-License-Identifier: Apache-2.0
/** Services in sockets, with real sockets: of a pod and of the host, both families, TCP and UDP. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { destroyOrphans, destroySockets } from '../../datapath/sock-destroy.ts';
import { netnsCookie } from '../../native/index.ts';
import type { Place, Proto } from './service-rows.ts';
import { BACKEND_PORT, HOST, SockBench } from './sock-bench.ts';
import type { SockProcess } from './sock-process.ts';

let bench: SockBench;
beforeAll(async () => {
  bench = await SockBench.create('sock');
});
afterAll(async () => {
  await bench?.close();
});
beforeEach(() => void bench.events());

/** A family: a service's address, its backends, and how a process of the other family's sockets names them. */
const families = [
  {
    name: 'IPv4',
    vip: '10.96.0.10',
    backends: ['10.0.1.5', '10.0.1.6', '10.0.1.7'],
    node: HOST.ipv4,
    loopback: '127.0.0.1',
    shown: (a: string) => a,
    called: (a: string) => a,
  },
  {
    name: 'IPv6',
    vip: 'fd00:96::10',
    backends: ['fd00::5', 'fd00::6', 'fd00::7'],
    node: HOST.ipv6,
    loopback: '::1',
    shown: (a: string) => a,
    called: (a: string) => a,
  },
  {
    name: 'IPv4-mapped IPv6',
    vip: '10.96.0.10',
    backends: ['10.0.1.5', '10.0.1.6', '10.0.1.7'],
    node: HOST.ipv4,
    loopback: '127.0.0.1',
    shown: (a: string) => `::ffff:${a}`,
    called: (a: string) => `::ffff:${a}`,
  },
] as const;
const places = (addresses: readonly string[], proto: Proto): Place[] =>
  addresses.map((address) => ({ address, port: BACKEND_PORT, proto }));
const end = (address: string, port: number) => ({ address, port });

let nextSet = 100;
/** A service of its own port for each test. */
let nextPort = 1000;

interface Service {
  port: number;
  set: number;
}
function service(
  address: string,
  backends: readonly string[],
  proto: Proto,
  {
    type = 'ClusterIP' as 'ClusterIP' | 'NodePort' | 'ExternalIP' | 'LoadBalancer',
    affinity = 0,
    port = ++nextPort,
  } = {},
): Service {
  const set = ++nextSet;
  bench.rows.set(set, places(backends, proto), affinity);
  bench.rows.frontend({ address, port, proto }, type, set);
  return { port, set };
}

const who = (name: 'pod' | 'host'): SockProcess => bench[name];

describe.each(families)('$name', ({ vip, backends, node, loopback, shown, called }) => {
  describe.each(['pod', 'host'] as const)('a process of the %s', (from) => {
    test('TCP: each connection reaches some backend, and getpeername shows the service', async () => {
      const { port } = service(vip, backends, 'TCP');
      const seen = new Set<string>();
      for (let i = 0; i < 24; i++) {
        const { said, peer } = await who(from).call('tcp', end(called(vip), port));
        expect(peer).toEqual(end(shown(vip), port));
        seen.add(said);
      }
      expect([...seen].sort()).toEqual([...backends]);
    });

    test('UDP, connected: one backend for the socket’s life, answers from the service', async () => {
      const { port } = service(vip, backends, 'UDP');
      const { socket, peer } = await who(from).call('open', end(called(vip), port));
      expect(peer).toEqual(end(shown(vip), port));
      const answers = [];
      for (let i = 0; i < 4; i++) answers.push(await who(from).call('askOpen', socket));
      await who(from).call('close', socket);
      expect(new Set(answers.map(({ said }) => said)).size).toBe(1);
      expect(backends).toContain(answers[0]?.said);
      for (const answer of answers) expect(answer.from).toEqual(end(shown(vip), port));
    });

    test('UDP, not connected: answers from the service, one backend for a socket, all of them for many', async () => {
      const { port } = service(vip, backends, 'UDP');
      const seen = new Set<string>();
      for (let i = 0; i < 24; i++) {
        const answers = await who(from).call('ask', end(called(vip), port), 3);
        for (const answer of answers) expect(answer.from).toEqual(end(shown(vip), port));
        expect(new Set(answers.map(({ said }) => said)).size).toBe(1);
        seen.add(answers[0]?.said ?? '');
      }
      expect([...seen].sort()).toEqual([...backends]);
    });

    test('without backends everything is refused at once', async () => {
      const [tcp, udp] = [service(vip, [], 'TCP'), service(vip, [], 'UDP')];
      const refused = async (call: Promise<unknown>) => expect(await call.catch(String)).toBe('Error: ECONNREFUSED');
      await refused(who(from).call('tcp', end(called(vip), tcp.port)));
      await refused(who(from).call('open', end(called(vip), udp.port)));
      await refused(who(from).call('ask', end(called(vip), udp.port), 1));
    });

    test('a node port on the node’s address, external IPs and load balancers', async () => {
      for (const type of ['NodePort', 'ExternalIP', 'LoadBalancer'] as const) {
        const { port } = service(node, backends, 'TCP', { type });
        const { said, peer } = await who(from).call('tcp', end(called(node), port));
        expect(backends).toContain(said);
        expect(peer).toEqual(end(shown(node), port));
      }
    });

    test('what is no service stays as it is', async () => {
      const [address] = backends;
      expect(await who(from).call('tcp', end(called(address), BACKEND_PORT))).toEqual({
        said: address,
        peer: end(shown(address), BACKEND_PORT),
      });
      const [answer] = await who(from).call('ask', end(called(address), BACKEND_PORT), 1);
      expect(answer).toEqual({ said: address, from: end(shown(address), BACKEND_PORT) });
    });

    test('session affinity: one backend for all sockets of the namespace, another when it leaves the set', async () => {
      const { port, set } = service(vip, backends, 'TCP', { affinity: 100 });
      const ask = async (times: number) => {
        const seen = new Set<string>();
        for (let i = 0; i < times; i++) seen.add((await who(from).call('tcp', end(called(vip), port))).said);
        return [...seen];
      };
      const [first, ...others] = await ask(12);
      expect(others).toEqual([]);
      bench.rows.set(
        set,
        places(
          backends.filter((address) => address !== first),
          'TCP',
        ),
        100,
      );
      const [second, ...more] = await ask(12);
      expect(more).toEqual([]);
      expect(second).not.toBe(first);
    });
  });

  test('a node port on loopback is the host’s; a pod’s loopback is its own', async () => {
    const { port } = service(loopback, backends, 'TCP', { type: 'NodePort' });
    const { said, peer } = await bench.host.call('tcp', end(called(loopback), port));
    expect(backends).toContain(said);
    expect(peer).toEqual(end(shown(loopback), port));
    await expect(bench.pod.call('tcp', end(called(loopback), port))).rejects.toThrow('ECONNREFUSED');
  });

  test('no address, and any of 127.0.0.0/8, is the host’s loopback too', async () => {
    const { port } = service(loopback, backends, 'TCP', { type: 'NodePort' });
    const none = loopback === '::1' ? '::' : called('0.0.0.0');
    const { said, peer } = await bench.host.call('tcp', end(none, port));
    expect(backends).toContain(said);
    expect(peer).toEqual(end(shown(loopback), port));
    await expect(bench.pod.call('tcp', end(none, port))).rejects.toThrow('ECONNREFUSED');
    if (loopback === '::1') return;
    expect((await bench.host.call('tcp', end(called('127.8.9.10'), port))).peer).toEqual(
      end(shown('127.8.9.10'), port),
    );
  });

  test('a host process cannot bind a node port, a pod’s can; neighbouring ports are free', async () => {
    const ports = { TCP: service(loopback, backends, 'TCP', { type: 'NodePort' }).port, UDP: 0 };
    ports.UDP = service(loopback, backends, 'UDP', { type: 'NodePort' }).port;
    const any = loopback === '::1' ? '::' : called('0.0.0.0');
    for (const proto of ['TCP', 'UDP'] as const) {
      for (const address of [any, called(loopback)]) {
        await expect(bench.host.call('bind', proto, end(address, ports[proto]))).rejects.toThrow('EADDRINUSE');
        expect(await bench.pod.call('bind', proto, end(address, ports[proto]))).toBeNull();
        expect(await bench.host.call('bind', proto, end(address, ports[proto] + 500))).toBeNull();
      }
    }
    const own = service(node, backends, 'TCP', { type: 'ExternalIP' });
    await expect(bench.host.call('bind', 'TCP', end(called(node), own.port))).rejects.toThrow('EADDRINUSE');
    expect(await bench.host.call('bind', 'TCP', end(any, own.port))).toBeNull();
  });

  test.each(['pod', 'host'] as const)(
    'a datagram socket of a %s whose backend is gone takes another',
    async (place) => {
      const { [place]: process } = bench;
      const { port, set } = service(vip, backends, 'UDP');
      const open = await process.call('open', end(called(vip), port));
      const { said } = await process.call('askOpen', open.socket);
      const bystander = await process.call('open', end(called(said), BACKEND_PORT));
      const gone = { address: said, port: BACKEND_PORT, protocol: 'UDP' as const };
      bench.rows.set(
        set,
        places(
          backends.filter((address) => address !== said),
          'UDP',
        ),
      );
      bench.rows.removeBackend({ address: said, port: BACKEND_PORT, proto: 'UDP' });
      const namespaces = [bench.netns.host, bench.netns.pod, '/run/netns/axt-gone'];
      const { isTranslated } = bench;
      expect(await destroySockets([gone, { ...gone, protocol: 'TCP' }], { namespaces, isTranslated })).toBe(1);
      await expect(process.call('askOpen', open.socket)).rejects.toThrow(
        /ECONNABORTED|EDESTADDRREQ/, // the first to a call that was waiting, the second to one that comes later
      );
      expect((await process.call('askOpen', bystander.socket)).said).toBe(said);
      await process.call('close', bystander.socket);
      const again = await process.call('open', end(called(vip), port));
      expect((await process.call('askOpen', again.socket)).said).not.toBe(said);
      await process.call('close', again.socket);
    },
  );

  test('a socket whose backend went unseen is found by an agent that starts', async () => {
    const { port } = service(vip, backends, 'UDP');
    const [kept, lost] = [
      await bench.pod.call('open', end(called(vip), port)),
      await bench.pod.call('open', end(called(vip), port)),
    ];
    const { said } = await bench.pod.call('askOpen', lost.socket);
    const rows = places(backends, 'UDP').map(({ address }) => ({
      address,
      port: BACKEND_PORT,
      protocol: 'UDP' as const,
    }));
    const options = { namespaces: [bench.netns.host, bench.netns.pod], isTranslated: bench.isTranslated };
    expect(await destroyOrphans(() => rows, options)).toBe(0);
    const others = rows.filter(({ address }) => address !== said);
    const same = (await bench.pod.call('askOpen', kept.socket)).said === said;
    expect(await destroyOrphans(() => others, options)).toBe(same ? 2 : 1);
    await expect(bench.pod.call('askOpen', lost.socket)).rejects.toThrow(/ECONNABORTED|EDESTADDRREQ/);
    if (!same) expect(await bench.pod.call('askOpen', kept.socket)).toMatchObject({ from: end(shown(vip), port) });
    await bench.pod.call('close', kept.socket);
  });
});

test('nothing is kept of connected sockets that are closed', async () => {
  const [tcp, udp] = [service('10.96.0.12', ['10.0.1.5'], 'TCP'), service('10.96.0.12', ['10.0.1.5'], 'UDP')];
  const before = bench.translations();
  for (const address of ['10.96.0.12', '::ffff:10.96.0.12']) {
    for (let i = 0; i < 5; i++) await bench.pod.call('tcp', end(address, tcp.port));
    const stream = await bench.pod.call('openTcp', end(address, tcp.port));
    const { socket } = await bench.pod.call('open', end(address, udp.port));
    const opened = bench.translations();
    expect(opened.streams).toBeGreaterThan(before.streams);
    expect(opened.datagrams).toBeGreaterThan(before.datagrams);
    await bench.pod.call('closeTcp', stream);
    await bench.pod.call('close', socket);
  }
  await expect.poll(() => bench.translations()).toEqual(before);
});

test('an event tells of each connection and of each new flow of datagrams', async () => {
  const [tcp, udp] = [service('10.96.0.11', ['10.0.1.5'], 'TCP'), service('10.96.0.11', ['10.0.1.5'], 'UDP')];
  await bench.pod.call('tcp', end('10.96.0.11', tcp.port));
  await bench.pod.call('ask', end('10.96.0.11', udp.port), 3);
  const common = {
    type: 4,
    subtype: 2,
    frontendAddr: '10.96.0.11',
    backendAddr: '10.0.1.5',
    backendPort: BACKEND_PORT,
  };
  const netns = netnsCookie(bench.netns.pod);
  expect(bench.events()).toMatchObject([
    { ...common, proto: 6, frontendPort: tcp.port, netnsCookie: netns },
    { ...common, proto: 17, frontendPort: udp.port, netnsCookie: netns },
  ]);
});

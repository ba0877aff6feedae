/** The watch of links against a real namespace: first list, changes, nothing twice, and the list after an overrun. */
import type { Subscription } from 'rxjs';
import { afterEach, describe, expect, test } from 'vitest';
import type { ClusterEvent, LinkFacts } from '../cluster/events.ts';
import { watchLinks } from './link-watch.ts';
import { type TestNamespace, testNamespace } from './testdata/namespace.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

class Watched {
  readonly events: ClusterEvent[] = [];
  readonly links = new Map<string, LinkFacts>();
  readonly node: TestNamespace;

  constructor(node: TestNamespace) {
    this.node = node;
    const subscription: Subscription = watchLinks({ netns: node.path }).subscribe((event) => {
      this.events.push(event);
      if (event.type === 'link.upserted') this.links.set(event.link.name, event.link);
      if (event.type === 'link.deleted') this.links.delete(event.name);
    });
    cleanups.push(() => subscription.unsubscribe());
  }

  /** Until it holds; fails with what is there. */
  async until(holds: () => boolean): Promise<void> {
    for (let tries = 0; tries < 200 && !holds(); tries++) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(holds(), JSON.stringify([...this.links.values()], undefined, 1)).toBe(true);
  }

  /** Events since the last call, after all that is under way was heard. */
  async news(): Promise<string[]> {
    await new Promise((resolve) => setTimeout(resolve, 100));
    return this.events.splice(0).map((event) => {
      if (event.type === 'link.upserted') return `+${event.link.name}`;
      return event.type === 'link.deleted' ? `-${event.name}` : event.type;
    });
  }
}

function node(): TestNamespace {
  const namespace = testNamespace('watch');
  cleanups.push(namespace.dispose);
  return namespace;
}

describe('links', () => {
  test('the first list is complete before `source.synced`', async () => {
    const namespace = node();
    namespace.ip('link add eth0 address 02:00:00:00:00:01 mtu 1450 type veth peer name far');
    namespace.ip('addr add 192.0.2.1/24 dev eth0');
    namespace.ip('addr add 2001:db8::1/64 dev eth0 nodad');
    namespace.ip('link set eth0 up');
    namespace.ip('link set far up');
    namespace.ip('route add default via 192.0.2.254');
    const { events, links } = new Watched(namespace);
    expect(events.at(-1)).toEqual({ type: 'source.synced', source: 'links' });
    expect(events.filter(({ type }) => type === 'source.synced').length).toBe(1);
    expect(links.get('eth0')).toEqual({
      name: 'eth0',
      kind: 'veth',
      mac: '02:00:00:00:00:01',
      mtu: 1450,
      up: true,
      addresses: ['192.0.2.1/24', '2001:db8::1/64'],
      defaultRoute: true,
    });
    expect(links.get('lo')).toMatchObject({ kind: '', up: true, addresses: [], defaultRoute: false });
  });

  test('each change is heard, and only what changed', async () => {
    const namespace = node();
    namespace.ip('link add eth0 type veth peer name far');
    namespace.ip('link set eth0 up');
    namespace.ip('link set far up');
    const watched = new Watched(namespace);
    await watched.news();
    const facts = () => watched.links.get('eth0');

    namespace.ip('addr add 192.0.2.1/24 dev eth0');
    await watched.until(() => facts()?.addresses.includes('192.0.2.1/24') ?? false);
    namespace.ip('addr add fd00::1/64 dev eth0 nodad');
    await watched.until(() => facts()?.addresses.length === 2);
    namespace.ip('link set eth0 mtu 1300');
    await watched.until(() => facts()?.mtu === 1300);
    namespace.ip('link set eth0 address 02:00:00:00:00:77');
    await watched.until(() => facts()?.mac === '02:00:00:00:00:77');
    namespace.ip('route add default via 192.0.2.254');
    await watched.until(() => facts()?.defaultRoute === true);
    namespace.ip('route add 10.0.0.0/8 via 192.0.2.254');
    namespace.ip('route del default');
    await watched.until(() => facts()?.defaultRoute === false);
    namespace.ip('-6 route add default via fd00::2');
    await watched.until(() => facts()?.defaultRoute === true);
    namespace.ip('addr del 192.0.2.1/24 dev eth0');
    await watched.until(() => facts()?.addresses.join() === 'fd00::1/64');
    expect([...new Set(await watched.news())]).toEqual(['+eth0']);
  });

  test('a default route that went with its link or address is missed', async () => {
    const namespace = node();
    namespace.ip('link add eth0 type veth peer name far');
    namespace.ip('link set eth0 up');
    namespace.ip('link set far up');
    const watched = new Watched(namespace);
    for (const loss of ['link set eth0 down', 'addr flush dev eth0']) {
      namespace.ip('link set eth0 up');
      namespace.ip('addr replace 192.0.2.1/24 dev eth0');
      namespace.ip('route replace default via 192.0.2.254');
      await watched.until(() => watched.links.get('eth0')?.defaultRoute === true);
      namespace.ip(loss);
      await watched.until(() => watched.links.get('eth0')?.defaultRoute === false);
    }
  });

  test('multipath default routes count for each of their links', async () => {
    const namespace = node();
    for (const n of [1, 2]) {
      namespace.ip(`link add eth${n} type veth peer name far${n}`);
      namespace.ip(`link set eth${n} up`);
      namespace.ip(`link set far${n} up`);
      namespace.ip(`addr add 192.0.${n}.1/24 dev eth${n}`);
    }
    namespace.ip('route add default nexthop via 192.0.1.2 nexthop via 192.0.2.2');
    const { links } = new Watched(namespace);
    expect(['eth1', 'eth2', 'lo'].map((name) => links.get(name)?.defaultRoute)).toEqual([true, true, false]);
  });

  test('links come, are renamed and go', async () => {
    const namespace = node();
    const watched = new Watched(namespace);
    await watched.news();
    namespace.ip('link add one type veth peer name far');
    await watched.until(() => watched.links.get('one')?.kind === 'veth');
    await watched.news();
    namespace.ip('link set one name two');
    await watched.until(() => watched.links.has('two') && !watched.links.has('one'));
    expect(await watched.news()).toEqual(['-one', '+two']);
    namespace.ip('link del two');
    await watched.until(() => !watched.links.has('two'));
    expect(await watched.news()).toEqual(['-two', '-far']);
  });

  test('a name that passes to another link within one batch is there in the end', async () => {
    const namespace = node();
    const watched = new Watched(namespace);
    namespace.ip('link add one type veth peer name far');
    await watched.until(() => watched.links.has('one'));
    namespace.run('sh', '-c', 'ip link del one; ip link add one address 02:00:00:00:00:99 type veth peer name far');
    await watched.until(() => watched.links.get('one')?.mac === '02:00:00:00:00:99');
  });

  test('after lost messages the links are those that are there', async () => {
    const namespace = node();
    const watched = new Watched(namespace);
    await watched.news();
    // The event loop stands still for as long as this runs. Messages of the first addresses fill the socket's buffer; that all of
    // them went again is lost.
    const adds = 'for a in $(seq 40); do for b in $(seq 250); do echo addr add 10.0.$a.$b/32 dev lo; done; done';
    namespace.run(
      'sh',
      '-c',
      `(${adds}; echo addr flush dev lo; echo link add last type veth peer name far) | ip -batch -`,
    );
    await watched.until(() => watched.links.has('last'));
    await watched.news();
    expect([...watched.links.keys()].sort()).toEqual(['far', 'last', 'lo']);
    expect(watched.links.get('lo')?.addresses).toEqual([]);
  });
});

/** A node's pods as text against the same as plain lists, with names and addresses that are made to be taken for one another. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { addressesOfPods, type RemotePod, RemotePods } from './remote-pods.ts';

const source = fc.constantFrom(
  'ciliumendpoints/a/b',
  'ciliumendpoints/a/b"',
  'ciliumendpoints/a/bb',
  'slices/10.0.0.1\n[',
);
const address = fc.constantFrom('10.0.0.1', '10.0.0.11', '0.0.1', 'fd00::1', 'fd00::11');
const pod: fc.Arbitrary<RemotePod> = fc.record({
  node: fc.constantFrom<string>('192.0.2.1', 'node"\n', '10.0.0.1'),
  addresses: fc.uniqueArray(address, { minLength: 1, maxLength: 3 }),
  identity: fc.integer({ min: 1, max: 3 }),
  created: fc.constantFrom('', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00.5Z', '2026-01-01', '10.0.0.1'),
});
const step = fc.oneof(
  fc.record({ source, pods: fc.array(pod, { maxLength: 3 }) }),
  fc.record({ nodes: fc.uniqueArray(fc.constantFrom<string>('192.0.2.1', 'node"\n', '10.0.0.1')) }),
);

it('says what lists would say', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      let pods = RemotePods.none;
      let lists: Record<string, RemotePod[]> = {};
      for (const one of steps) {
        if ('nodes' in one) {
          pods = pods.on(one.nodes);
          lists = Object.fromEntries(
            Object.entries(lists).map(([name, all]) => [name, all.filter(({ node }) => one.nodes.includes(node))]),
          );
        } else {
          pods = pods.with(one.source, one.pods);
          lists = { ...lists, [one.source]: one.pods };
        }
        lists = Object.fromEntries(Object.entries(lists).filter(([, all]) => all.length > 0));
        expect(pods.toJSON()).toEqual(lists);
        expect(RemotePods.from(pods.toJSON()).toJSON()).toEqual(lists);
        const all = Object.values(lists).flat();
        expect(new Set(pods.addresses())).toEqual(new Set(addressesOfPods(all)));
        for (const name of Object.keys(lists)) expect(pods.of(name)).toEqual(lists[name]);
        for (const of of addressesOfPods(all)) {
          const claims = Object.entries(lists)
            .flatMap(([name, known]) => known.filter((p) => p.addresses.includes(of)).map((p) => ({ name, p })))
            .sort((a, b) =>
              a.p.created === b.p.created ? (a.name < b.name ? -1 : 1) : a.p.created > b.p.created ? -1 : 1,
            );
          const [best] = claims;
          // Of one object that claims an address twice either may be meant.
          const same = claims.filter(({ name, p }) => name === best?.name && p.created === best.p.created);
          expect(same.map(({ p }) => p)).toContainEqual(pods.podAt(of));
          expect(pods.nameAt(of)).toBe(best?.name.startsWith('ciliumendpoints/') ? best.name.slice(16) : '');
        }
        expect(pods.podAt('10.0.0')).toBeUndefined();
      }
    }),
  );
});

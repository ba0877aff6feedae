/** Random histories of what a node hears of others: nodes and their pods come, change, move, claim what others have, and go. */
import fc from 'fast-check';
import { type KubeObject, objectKey } from '../cluster/events.ts';
import type { Engine } from '../reconcilers/engine.ts';
import {
  ciliumEndpoint,
  ciliumNode,
  endpointSlice,
  kubeNode,
  type NetworkOptions,
  NodesWorld,
  wireguardKeyOf,
} from './cluster-nodes.ts';

const PODS = 4;

/** One thing that may be said; `of` is the object, `as` its version, undefined its end. */
export interface Said {
  resource: string;
  object: KubeObject;
  gone: boolean;
}

const upserted = (resource: string, object: KubeObject): Said => ({ resource, object, gone: false });
const deleted = (resource: string, object: KubeObject): Said => ({ resource, object, gone: true });

const node = fc.constantFrom(2, 2, 2, 3, 4);
const rarely = fc.constantFrom(false, false, false, true);
const ofNode = fc
  .record({
    number: node,
    gone: rarely,
    elsewhere: rarely,
    ranges: fc.constantFrom('own', 'own', 'own', 'of 2', 'none', 'nonsense'),
    young: rarely,
    key: fc.constantFrom(0, 1, 2),
  })
  .map(({ number, gone, elsewhere, ranges, young, key }): Said => {
    const podCIDRs = { own: undefined, 'of 2': ['10.0.2.0/24'], none: [], nonsense: ['10.0'] }[ranges];
    const object = ciliumNode(number, {
      created: young ? '2026-02-01T00:00:00Z' : '2026-01-01T00:00:00Z',
      keyId: 3 + key,
      ...(key > 0 && { wireguardKey: wireguardKeyOf(number * 10 + key) }),
      ...(elsewhere && { addresses: [`192.0.2.${number + 100}`] }),
      ...(podCIDRs && { podCIDRs }),
      health: { ipv4: `10.0.${number}.250` },
    });
    return gone ? deleted('ciliumnodes', object) : upserted('ciliumnodes', object);
  });
const ofKubeNode = fc
  .record({ number: node, gone: rarely })
  .map(({ number, gone }): Said => ({ resource: 'nodes', object: kubeNode(number), gone }));
const ofPod = fc
  .record({
    name: fc.nat(PODS - 1),
    number: node,
    pod: fc.constantFrom(5, 5, 6),
    identity: fc.constantFrom(undefined, 300, 301),
    elsewhere: rarely,
    created: fc.nat(3),
    gone: rarely,
  })
  .map(({ name, number, pod, identity, elsewhere, created, gone }): Said => {
    const object = ciliumEndpoint(number, pod, identity, {
      name: `pod-${name}`,
      created: `2026-01-0${created + 1}T00:00:00Z`,
      host: `192.0.2.${elsewhere ? number + 100 : number}`,
    });
    return { resource: 'ciliumendpoints', object, gone };
  });
const ofSlice = fc
  .record({
    name: fc.constantFrom('ces-a', 'ces-b'),
    pods: fc.array(fc.record({ node, pod: fc.constantFrom(5, 6, 7), identity: fc.constantFrom(310, 311) }), {
      maxLength: 4,
    }),
    gone: rarely,
  })
  .map(({ name, pods, gone }): Said => ({ resource: 'ciliumendpointslices', object: endpointSlice(name, pods), gone }));
export const history = fc.array(
  fc.oneof({ weight: 3, arbitrary: ofPod }, { weight: 3, arbitrary: ofNode }, ofKubeNode, ofSlice),
  {
    maxLength: 40,
  },
);

export const networks: [string, NetworkOptions][] = [
  ['native routing with direct routes', { routing: { autoDirectNodeRoutes: true } }],
  ['VXLAN with probes', { routing: { mode: 'vxlan' }, health: { enabled: true, intervalMs: 1_000 } }],
  ['Geneve over IPv6', { routing: { mode: 'geneve', underlay: 'ipv6' } }],
  ['WireGuard, strict', { encryption: { type: 'wireguard', strict: true, nodeEncryption: true } }],
  ['IPsec in VXLAN', { routing: { mode: 'vxlan' }, encryption: { type: 'ipsec' } }],
];

export const idOf = ({ resource, object }: Said): string => `${resource}/${objectKey(object)}`;

export function started(options: NetworkOptions, engine?: Engine): NodesWorld {
  const world = new NodesWorld(engine).before(options);
  if (options.encryption?.type === 'wireguard') world.say({ type: 'wireguard.keyed', publicKey: wireguardKeyOf(1) });
  if (options.encryption?.type === 'ipsec') world.say({ type: 'ipsec.keyed', keys: [{ id: 3, fingerprint: 'a' }] });
  return world;
}

/** Says it as a watch does: an end only of what is there, and with its last state. */
export class Watch {
  readonly known = new Map<string, Said>();
  readonly #world: NodesWorld;

  constructor(world: NodesWorld) {
    this.#world = world;
  }

  hear(said: Said): void {
    const { resource, object, gone } = said;
    const before = this.known.get(idOf(said));
    if (!gone) {
      this.known.set(idOf(said), said);
      this.#world.upsert(resource, object);
    } else if (before) {
      this.known.delete(idOf(said));
      this.#world.delete(resource, before.object);
    }
  }
}

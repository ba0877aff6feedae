/** CiliumBGPAdvertisement: what is announced to peers, and with which attributes. */
import { type Static, Type } from 'typebox';
import { bgpCategories } from './cilium-bgp-config.ts';
import { age, type Crd } from './definition.ts';
import { labelSelector, text } from './shared.ts';

const standardCommunity = Type.String({ pattern: '^(\\d+):(\\d+)$|^\\d+$' });
const largeCommunity = Type.String({ pattern: '^\\d+:\\d+:\\d+$' });
const wellKnownCommunity = Type.Enum([
  'internet',
  'planned-shut',
  'accept-own',
  'route-filter-translated-v4',
  'route-filter-v4',
  'route-filter-translated-v6',
  'route-filter-v6',
  'llgr-stale',
  'no-llgr',
  'blackhole',
  'no-export',
  'no-advertise',
  'no-export-subconfed',
  'no-peer',
]);
const aggregation = (maximum: number) => Type.Optional(Type.Integer({ minimum: 1, maximum }));

export const ciliumBgpAdvertisementSchema = Type.Object({
  spec: Type.Object({
    advertisements: Type.Array(
      Type.Object({
        advertisementType: Type.Enum(['PodCIDR', 'CiliumPodIPPool', 'Service', 'Interface']),
        attributes: Type.Optional(
          Type.Object({
            communities: Type.Optional(
              Type.Object({
                large: Type.Optional(Type.Array(largeCommunity)),
                standard: Type.Optional(Type.Array(standardCommunity)),
                wellKnown: Type.Optional(Type.Array(wellKnownCommunity)),
              }),
            ),
            localPreference: Type.Optional(Type.Integer({ format: 'int64', minimum: 0, maximum: 4294967295 })),
          }),
        ),
        interface: Type.Optional(Type.Object({ name: text() })),
        selector: Type.Optional(labelSelector),
        service: Type.Optional(
          Type.Object({
            addresses: Type.Array(Type.Enum(['LoadBalancerIP', 'ClusterIP', 'ExternalIP']), { minItems: 1 }),
            aggregationLengthIPv4: aggregation(31),
            aggregationLengthIPv6: aggregation(127),
          }),
        ),
      }),
      { minItems: 1 },
    ),
  }),
});
export type CiliumBgpAdvertisement = Static<typeof ciliumBgpAdvertisementSchema>;

export const ciliumBgpAdvertisement: Crd = {
  kind: 'CiliumBGPAdvertisement',
  plural: 'ciliumbgpadvertisements',
  shortNames: ['cbgpadvert'],
  categories: bgpCategories,
  scope: 'Cluster',
  versions: [
    { name: 'v2', schema: ciliumBgpAdvertisementSchema, columns: [age] },
    { name: 'v2alpha1', schema: ciliumBgpAdvertisementSchema, columns: [age] },
  ],
};

/** CiliumPodIPPool: prefixes from which nodes get pod CIDRs, in multi-pool mode. */
import { type Static, Type } from 'typebox';
import type { Crd } from './definition.ts';
import { cidr, labelSelector } from './shared.ts';

const pool = (maskMax: number) =>
  Type.Optional(
    Type.Object({ cidrs: Type.Array(cidr, { minItems: 1 }), maskSize: Type.Integer({ minimum: 1, maximum: maskMax }) }),
  );

export const ciliumPodIpPoolSchema = Type.Object({
  spec: Type.Object({
    ipv4: pool(32),
    ipv6: pool(128),
    namespaceSelector: Type.Optional(labelSelector),
    podSelector: Type.Optional(labelSelector),
  }),
});
export type CiliumPodIpPool = Static<typeof ciliumPodIpPoolSchema>;

export const ciliumPodIpPool: Crd = {
  kind: 'CiliumPodIPPool',
  plural: 'ciliumpodippools',
  shortNames: ['cpip'],
  scope: 'Cluster',
  versions: [{ name: 'v2alpha1', schema: ciliumPodIpPoolSchema }],
};

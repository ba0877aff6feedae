/** CiliumLoadBalancerIPPool: addresses for services of type LoadBalancer. */
import { type Static, Type } from 'typebox';
import { age, type Crd } from './definition.ts';
import { cidr, conditions, labelSelector, text } from './shared.ts';

export const ciliumLoadBalancerIpPoolSchema = Type.Object({
  spec: Type.Object({
    allowFirstLastIPs: Type.Optional(Type.Enum(['Yes', 'No'])),
    blocks: Type.Optional(
      Type.Array(Type.Object({ cidr: Type.Optional(cidr), start: Type.Optional(text()), stop: Type.Optional(text()) })),
    ),
    disabled: Type.Optional(Type.Boolean({ default: false })),
    serviceSelector: Type.Optional(labelSelector),
  }),
  status: Type.Optional(Type.Object({ conditions: Type.Optional(conditions) })),
});
export type CiliumLoadBalancerIpPool = Static<typeof ciliumLoadBalancerIpPoolSchema>;

const columns = [
  { jsonPath: '.spec.disabled', name: 'Disabled', type: 'boolean' },
  { jsonPath: '.status.conditions[?(@.type=="cilium.io/PoolConflict")].status', name: 'Conflicting', type: 'string' },
  {
    jsonPath: '.status.conditions[?(@.type=="cilium.io/IPsAvailable")].message',
    name: 'IPs Available',
    type: 'string',
  },
  age,
] as const;

export const ciliumLoadBalancerIpPool: Crd = {
  kind: 'CiliumLoadBalancerIPPool',
  plural: 'ciliumloadbalancerippools',
  shortNames: ['ippools', 'ippool', 'lbippool', 'lbippools'],
  scope: 'Cluster',
  status: true,
  versions: [
    { name: 'v2', schema: ciliumLoadBalancerIpPoolSchema, columns },
    { name: 'v2alpha1', schema: ciliumLoadBalancerIpPoolSchema, columns },
  ],
};

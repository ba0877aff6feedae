/** CiliumL2AnnouncementPolicy: which nodes answer ARP and ND for which services' addresses. */
import { type Static, Type } from 'typebox';
import { age, type Crd } from './definition.ts';
import { conditions, labelSelector, texts } from './shared.ts';

export const ciliumL2AnnouncementPolicySchema = Type.Object({
  spec: Type.Object({
    externalIPs: Type.Optional(Type.Boolean()),
    interfaces: Type.Optional(texts('Regular expressions for names of devices; none: all devices.')),
    loadBalancerIPs: Type.Optional(Type.Boolean()),
    nodeSelector: Type.Optional(labelSelector),
    serviceSelector: Type.Optional(labelSelector),
  }),
  status: Type.Optional(Type.Object({ conditions: Type.Optional(conditions) })),
});
export type CiliumL2AnnouncementPolicy = Static<typeof ciliumL2AnnouncementPolicySchema>;

export const ciliumL2AnnouncementPolicy: Crd = {
  kind: 'CiliumL2AnnouncementPolicy',
  plural: 'ciliuml2announcementpolicies',
  shortNames: ['l2announcement'],
  scope: 'Cluster',
  status: true,
  versions: [{ name: 'v2alpha1', schema: ciliumL2AnnouncementPolicySchema, columns: [age] }],
};

/** CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: the same rules, for a namespace or for the cluster. */
import { type Static, Type } from 'typebox';
import { age, type Crd } from './definition.ts';
import { rule } from './policy-rule.ts';
import { anyOfFields, conditions } from './shared.ts';

/** What each node says of the policy, by its name. */
const ofNode = Type.Object({
  ok: Type.Optional(Type.Boolean({ description: 'The node finds the policy valid.' })),
  enforcing: Type.Optional(
    Type.Boolean({ description: 'The policy, or its last valid version, is in force on the node.' }),
  ),
  error: Type.Optional(Type.String()),
  lastUpdated: Type.Optional(Type.String({ format: 'date-time' })),
  localPolicyRevision: Type.Optional(Type.Integer({ format: 'int64' })),
});

export const ciliumNetworkPolicySchema = Type.Object(
  {
    spec: Type.Optional(rule),
    specs: Type.Optional(Type.Array(rule)),
    status: Type.Optional(
      Type.Object({ conditions: Type.Optional(conditions), nodes: Type.Optional(Type.Record(Type.String(), ofNode)) }),
    ),
  },
  anyOfFields('spec', 'specs'),
);
export type CiliumNetworkPolicy = Static<typeof ciliumNetworkPolicySchema>;

const valid = { jsonPath: ".status.conditions[?(@.type=='Valid')].status", name: 'Valid', type: 'string' } as const;

export const ciliumNetworkPolicy: Crd = {
  kind: 'CiliumNetworkPolicy',
  plural: 'ciliumnetworkpolicies',
  shortNames: ['cnp', 'ciliumnp'],
  categories: ['ciliumpolicy'],
  scope: 'Namespaced',
  status: true,
  versions: [{ name: 'v2', schema: ciliumNetworkPolicySchema, columns: [age, valid] }],
};

export const ciliumClusterwideNetworkPolicy: Crd = {
  kind: 'CiliumClusterwideNetworkPolicy',
  plural: 'ciliumclusterwidenetworkpolicies',
  shortNames: ['ccnp'],
  categories: ['ciliumpolicy'],
  scope: 'Cluster',
  status: true,
  versions: [{ name: 'v2', schema: ciliumNetworkPolicySchema, columns: [valid] }],
};

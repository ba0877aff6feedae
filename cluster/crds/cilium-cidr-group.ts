/** CiliumCIDRGroup: a named list of prefixes that policies refer to by name or by labels. */
import { type Static, Type } from 'typebox';
import { age, type Crd } from './definition.ts';
import { cidr } from './shared.ts';

export const ciliumCidrGroupSchema = Type.Object({
  spec: Type.Object({
    externalCIDRs: Type.Array(cidr, {
      description: 'ExternalCIDRs is a list of CIDRs selecting peers outside the clusters.',
      minItems: 0,
    }),
  }),
});
export type CiliumCidrGroup = Static<typeof ciliumCidrGroupSchema>;

const columns = [age];

export const ciliumCidrGroup: Crd = {
  kind: 'CiliumCIDRGroup',
  plural: 'ciliumcidrgroups',
  shortNames: ['ccg'],
  scope: 'Cluster',
  versions: [
    { name: 'v2', schema: ciliumCidrGroupSchema, columns },
    { name: 'v2alpha1', schema: ciliumCidrGroupSchema, columns },
  ],
};

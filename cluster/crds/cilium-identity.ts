/** CiliumIdentity: a numeric identity (its name) and the label set it stands for. */
import { type Static, Type } from 'typebox';
import { age, type Crd } from './definition.ts';

export const ciliumIdentitySchema = Type.Object({
  'security-labels': Type.Record(Type.String(), Type.String(), {
    description: 'SecurityLabels is the source-of-truth set of labels for this identity.',
  }),
});
export type CiliumIdentity = Static<typeof ciliumIdentitySchema>;

export const ciliumIdentity: Crd = {
  kind: 'CiliumIdentity',
  plural: 'ciliumidentities',
  shortNames: ['ciliumid'],
  scope: 'Cluster',
  status: true,
  versions: [
    {
      name: 'v2',
      schema: ciliumIdentitySchema,
      columns: [
        {
          jsonPath: '.metadata.labels.io\\.kubernetes\\.pod\\.namespace',
          name: 'Namespace',
          type: 'string',
          description: 'The namespace of the entity',
        },
        age,
      ],
    },
  ],
};

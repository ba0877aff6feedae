/** CiliumNodeConfig: agent options for the nodes that a selector picks. */
import { type Static, Type } from 'typebox';
import type { Crd } from './definition.ts';
import { labelSelector, textMap } from './shared.ts';

export const ciliumNodeConfigSchema = Type.Object({
  spec: Type.Object({
    defaults: textMap,
    nodeSelector: labelSelector,
  }),
});
export type CiliumNodeConfig = Static<typeof ciliumNodeConfigSchema>;

export const ciliumNodeConfig: Crd = {
  kind: 'CiliumNodeConfig',
  plural: 'ciliumnodeconfigs',
  scope: 'Namespaced',
  versions: [{ name: 'v2', schema: ciliumNodeConfigSchema }],
};

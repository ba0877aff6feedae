/** CiliumEnvoyConfig and CiliumClusterwideEnvoyConfig: Envoy resources, and the services whose traffic they take. */
import { type Static, Type } from 'typebox';
import { age, type Crd } from './definition.ts';
import { anyObject, labelSelector, text } from './shared.ts';

const name = Type.String({ minLength: 1 });

export const ciliumEnvoyConfigSchema = Type.Object({
  spec: Type.Object({
    backendServices: Type.Optional(
      Type.Array(
        Type.Object({
          name,
          namespace: Type.Optional(text()),
          number: Type.Optional(Type.Array(Type.String({ description: 'Port numbers, or names.' }))),
        }),
      ),
    ),
    nodeSelector: Type.Optional(labelSelector),
    resources: Type.Optional(
      Type.Array(anyObject, { description: 'Envoy resources in their JSON form, each with an @type.' }),
    ),
    services: Type.Optional(
      Type.Array(
        Type.Object({
          listener: Type.Optional(text()),
          name,
          namespace: Type.Optional(text()),
          ports: Type.Optional(Type.Array(Type.Integer({ minimum: 1, maximum: 65535 }))),
        }),
      ),
    ),
  }),
});
export type CiliumEnvoyConfig = Static<typeof ciliumEnvoyConfigSchema>;

const versions = [{ name: 'v2', schema: ciliumEnvoyConfigSchema, columns: [age] }];

export const ciliumEnvoyConfig: Crd = {
  kind: 'CiliumEnvoyConfig',
  plural: 'ciliumenvoyconfigs',
  shortNames: ['cec'],
  scope: 'Namespaced',
  versions,
};

export const ciliumClusterwideEnvoyConfig: Crd = {
  kind: 'CiliumClusterwideEnvoyConfig',
  plural: 'ciliumclusterwideenvoyconfigs',
  shortNames: ['ccec'],
  scope: 'Cluster',
  versions,
};

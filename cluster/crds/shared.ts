/** Parts that several CRD schemas share: selectors, addresses, conditions. */
import { type Static, Type } from 'typebox';

export const text = (description?: string): ReturnType<typeof Type.String> =>
  Type.String(description === undefined ? {} : { description });
export const texts = (description?: string) =>
  Type.Array(Type.String(), description === undefined ? {} : { description });
export const textMap = Type.Record(Type.String(), Type.String());

const labelValue = Type.String({ maxLength: 63, pattern: '^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$' });

export const labelSelector = Type.Object(
  {
    matchExpressions: Type.Optional(
      Type.Array(
        Type.Object({
          key: Type.String(),
          operator: Type.Enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
          values: Type.Optional(Type.Array(Type.String())),
        }),
        { 'x-kubernetes-list-type': 'atomic' },
      ),
    ),
    matchLabels: Type.Optional(Type.Record(Type.String(), labelValue)),
  },
  { 'x-kubernetes-map-type': 'atomic' },
);
export type LabelSelectorSpec = Static<typeof labelSelector>;

/** A prefix or a bare address; host bits are masked by the reader. */
export const cidr = Type.String({
  description: 'An IPv4 or IPv6 prefix, such as 10.0.0.0/8 or fd00::/64.',
  pattern: '^([0-9]{1,3}\\.){3}[0-9]{1,3}(/[0-9]{1,2})?$|^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/[0-9]{1,3})?$',
});

export const portNumber = Type.Integer({ format: 'int32', minimum: 1, maximum: 65535 });

export const condition = Type.Object({
  lastTransitionTime: Type.String({ format: 'date-time' }),
  message: Type.String({ maxLength: 32768 }),
  observedGeneration: Type.Optional(Type.Integer({ format: 'int64', minimum: 0 })),
  reason: Type.String({ minLength: 1, maxLength: 1024, pattern: '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$' }),
  status: Type.Enum(['True', 'False', 'Unknown']),
  type: Type.String({ maxLength: 316 }),
});

/** The `conditions` list of a status, merged by type. */
export const conditions = Type.Array(condition, {
  'x-kubernetes-list-type': 'map',
  'x-kubernetes-list-map-keys': ['type'],
});

/** Any JSON object: schemas that others own (cloud provider specs, Envoy resources). */
export const anyObject = Type.Unsafe<Record<string, unknown>>({
  type: 'object',
  'x-kubernetes-preserve-unknown-fields': true,
});

export const intOrString = Type.Unsafe<number | string>({ 'x-kubernetes-int-or-string': true });

/** Exactly one of these fields. */
export const oneOfFields = (...names: string[]): { oneOf: object[] } => ({
  oneOf: names.map((name) => ({ required: [name] })),
});
/** At least one of these fields. */
export const anyOfFields = (...names: string[]): { anyOf: object[] } => ({
  anyOf: names.map((name) => ({ required: [name] })),
});

/**
 * Bodies in Kubernetes' protobuf form, which newer kubectl sends for its typed `create` commands.
 *
 * Only the kinds of those commands are known, with the field numbers of k8s.io/api `generated.proto`.
 */
import { type Field, ProtobufError, readFields } from './protobuf.ts';
import { isRecord, type JsonRecord } from './types.ts';

export const protobufMediaType = 'application/vnd.kubernetes.protobuf';

/** How a field becomes JSON; a list of one kind is a repeated field. */
type Kind =
  | 'text'
  | 'number'
  | 'flag'
  | 'bytes'
  | 'textMap'
  | 'bytesMap'
  | 'time'
  | 'intOrString'
  | Message
  | readonly ['text']
  | readonly [Message];
interface Message {
  readonly [field: number]: readonly [name: string, kind: Kind];
}

const ownerReference: Message = {
  1: ['kind', 'text'],
  3: ['name', 'text'],
  4: ['uid', 'text'],
  5: ['apiVersion', 'text'],
  6: ['controller', 'flag'],
  7: ['blockOwnerDeletion', 'flag'],
};
const meta: Message = {
  1: ['name', 'text'],
  2: ['generateName', 'text'],
  3: ['namespace', 'text'],
  5: ['uid', 'text'],
  6: ['resourceVersion', 'text'],
  7: ['generation', 'number'],
  8: ['creationTimestamp', 'time'],
  9: ['deletionTimestamp', 'time'],
  10: ['deletionGracePeriodSeconds', 'number'],
  11: ['labels', 'textMap'],
  12: ['annotations', 'textMap'],
  13: ['ownerReferences', [ownerReference]],
  14: ['finalizers', ['text']],
};
const reference: Message = { 1: ['kind', 'text'], 2: ['namespace', 'text'], 3: ['name', 'text'] };
const servicePort: Message = {
  1: ['name', 'text'],
  2: ['protocol', 'text'],
  3: ['port', 'number'],
  4: ['targetPort', 'intOrString'],
  5: ['nodePort', 'number'],
  6: ['appProtocol', 'text'],
};
const serviceSpec: Message = {
  1: ['ports', [servicePort]],
  2: ['selector', 'textMap'],
  3: ['clusterIP', 'text'],
  4: ['type', 'text'],
  5: ['externalIPs', ['text']],
  7: ['sessionAffinity', 'text'],
  8: ['loadBalancerIP', 'text'],
  9: ['loadBalancerSourceRanges', ['text']],
  10: ['externalName', 'text'],
  11: ['externalTrafficPolicy', 'text'],
  13: ['publishNotReadyAddresses', 'flag'],
  17: ['ipFamilyPolicy', 'text'],
  18: ['clusterIPs', ['text']],
  19: ['ipFamilies', ['text']],
  21: ['loadBalancerClass', 'text'],
  22: ['internalTrafficPolicy', 'text'],
};

const kinds: Record<string, Message> = {
  Namespace: { 1: ['metadata', meta] },
  ConfigMap: { 1: ['metadata', meta], 2: ['data', 'textMap'], 3: ['binaryData', 'bytesMap'], 4: ['immutable', 'flag'] },
  Secret: {
    1: ['metadata', meta],
    2: ['data', 'bytesMap'],
    3: ['type', 'text'],
    4: ['stringData', 'textMap'],
    5: ['immutable', 'flag'],
  },
  ServiceAccount: {
    1: ['metadata', meta],
    2: ['secrets', [reference]],
    3: ['imagePullSecrets', [{ 1: ['name', 'text'] }]],
    4: ['automountServiceAccountToken', 'flag'],
  },
  Service: { 1: ['metadata', meta], 2: ['spec', serviceSpec] },
  DeleteOptions: {
    1: ['gracePeriodSeconds', 'number'],
    2: ['preconditions', { 1: ['uid', 'text'], 2: ['resourceVersion', 'text'] }],
    3: ['orphanDependents', 'flag'],
    4: ['propagationPolicy', 'text'],
    5: ['dryRun', ['text']],
  },
};

const magic = Buffer.from('k8s\0');

/** The envelope (runtime.Unknown) names apiVersion and kind; inside is the object. Throws ProtobufError. */
export function readProtobufBody(body: Buffer): JsonRecord {
  if (!body.subarray(0, 4).equals(magic)) throw new ProtobufError('the body does not start with "k8s"');
  const envelope = readFields(body.subarray(4));
  const part = (number: number): Buffer => bytesOf(envelope.find((field) => field.number === number));
  const typeMeta = readMessage({ 1: ['apiVersion', 'text'], 2: ['kind', 'text'] }, part(1));
  const kind = String(typeMeta.kind ?? '');
  const known = kinds[kind];
  if (!known) throw new ProtobufError(`objects of kind "${kind}" are read as JSON or YAML only`);
  return { ...typeMeta, ...readMessage(known, part(2)) };
}

const bytesOf = (field: Field | undefined): Buffer => (Buffer.isBuffer(field?.value) ? field.value : Buffer.alloc(0));

/** Empty texts and messages are what Go writes for absent fields. */
function readMessage(known: Message, bytes: Buffer): JsonRecord {
  const result: JsonRecord = {};
  for (const field of readFields(bytes)) {
    const entry = known[field.number];
    if (!entry) continue;
    const [name, kind] = entry;
    if (isList(kind)) {
      const list = Array.isArray(result[name]) ? result[name] : [];
      result[name] = [...list, readValue(kind[0], field)];
    } else if (kind === 'textMap' || kind === 'bytesMap') {
      const pair = readMessage(
        { 1: ['key', 'text'], 2: ['value', kind === 'textMap' ? 'text' : 'bytes'] },
        bytesOf(field),
      );
      result[name] = { ...(isRecord(result[name]) ? result[name] : {}), [String(pair.key ?? '')]: pair.value ?? '' };
    } else {
      const value = readValue(kind, field);
      if (
        value !== undefined &&
        value !== '' &&
        !(isRecord(value) && name !== 'metadata' && Object.keys(value).length === 0)
      )
        result[name] = value;
    }
  }
  return result;
}

const isList = (kind: Kind): kind is readonly ['text'] | readonly [Message] => Array.isArray(kind);

function readValue(kind: Exclude<Kind, readonly unknown[]>, field: Field): unknown {
  if (typeof kind !== 'string') return readMessage(kind, bytesOf(field));
  switch (kind) {
    case 'text':
      return bytesOf(field).toString('utf8');
    case 'bytes':
      return bytesOf(field).toString('base64');
    case 'number':
      return typeof field.value === 'number' ? field.value : 0;
    case 'flag':
      return field.value !== 0;
    case 'time': {
      const seconds = readMessage({ 1: ['seconds', 'number'] }, bytesOf(field)).seconds;
      return typeof seconds === 'number' ? new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z') : undefined;
    }
    case 'intOrString': {
      const value = readMessage(
        { 1: ['type', 'number'], 2: ['number', 'number'], 3: ['text', 'text'] },
        bytesOf(field),
      );
      return value.type === 1 ? value.text : value.number || undefined;
    }
    case 'textMap':
    case 'bytesMap':
      return undefined;
  }
}

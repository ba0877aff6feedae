/** EndpointSlices: one address family each, which never changes. */
import { invalidValue, notSupported, required } from '../errors.ts';
import { isAddress, portNumber } from '../names.ts';
import { arrayAt, type Cause, fieldAt, isRecord, type Strategy, stringAt } from '../types.ts';

const families = ['IPv4', 'IPv6', 'FQDN'];
const protocols = ['TCP', 'UDP', 'SCTP'];

export const endpointSliceStrategy: Strategy = {
  defaults(draft) {
    draft.endpoints ??= [];
    draft.ports ??= [];
    for (const port of arrayAt(draft, 'ports')) {
      if (!isRecord(port)) continue;
      port.name ??= '';
      port.protocol ??= 'TCP';
    }
  },
  validate(draft, old) {
    const causes: Cause[] = [];
    const family = stringAt(draft, 'addressType');
    if (family === '') causes.push(required('addressType'));
    else if (!families.includes(family)) causes.push(notSupported('addressType', family, families));
    if (old && family !== old.addressType) causes.push(invalidValue('addressType', family, 'field is immutable'));
    arrayAt(draft, 'endpoints').forEach((endpoint, i) => {
      const addresses = arrayAt(endpoint, 'addresses');
      if (addresses.length === 0) causes.push(required(`endpoints[${i}].addresses`, 'must contain at least 1 address'));
      addresses.forEach((address, j) => {
        if (!fits(address, family))
          causes.push(invalidValue(`endpoints[${i}].addresses[${j}]`, address, `must be an ${family} address`));
      });
    });
    arrayAt(draft, 'ports').forEach((port, i) => {
      if (!protocols.includes(stringAt(port, 'protocol')))
        causes.push(notSupported(`ports[${i}].protocol`, fieldAt(port, 'protocol'), protocols));
      if (fieldAt(port, 'port') !== undefined) causes.push(...portNumber(fieldAt(port, 'port'), `ports[${i}].port`));
    });
    return causes;
  },
};

function fits(address: unknown, family: string): boolean {
  if (typeof address !== 'string') return false;
  if (family === 'FQDN') return address !== '';
  return isAddress(address) && address.includes(':') === (family === 'IPv6');
}

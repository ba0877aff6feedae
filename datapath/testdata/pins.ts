/** A folder on bpffs for one test; all pins in it go with `dispose`. */
import { rmSync } from 'node:fs';
import type { DatapathConfig } from '../runtime-config.ts';

let made = 0;

export interface TestPins {
  config: DatapathConfig;
  dispose(): void;
}

export function testPins(config: Partial<DatapathConfig> = {}): TestPins {
  const pinRoot = `/sys/fs/bpf/axt-${process.pid}-${++made}`;
  return {
    config: {
      pinRoot,
      ipv4: true,
      ipv6: true,
      masquerade: true,
      ipv4NativeRoutingCIDR: '',
      ipv6NativeRoutingCIDR: '',
      maps: {},
      ...config,
    },
    dispose: () => rmSync(pinRoot, { recursive: true, force: true }),
  };
}

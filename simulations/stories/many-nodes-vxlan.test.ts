/** Three nodes that wrap packets in VXLAN for each other, over a network that does not know of pods. */
import { manyNodes } from './many-nodes/story.ts';

manyNodes('vxlan', { flags: ['--routing', 'vxlan'], onTheWire: 'vxlan', kills: 1 });

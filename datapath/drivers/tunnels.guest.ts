/** Tunnels, rules and routes of other tables on kernels that have Geneve: the same laws. */
import './rules.test.ts';
import './tunnels.test.ts';

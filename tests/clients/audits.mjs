// The audits of graphql-http, all at once, as its own runner does it: each one's id, name and status.

import { auditServer } from 'graphql-http';
import { say, url } from './given.mjs';

// Queries by GET want a header that no form and no link can send.
const fetchFn = (address, init = {}) => fetch(address, {
  ...init,
  headers: init.method === 'POST' ? init.headers : { ...init.headers, 'graphql-require-preflight': '1' },
});

const results = await auditServer({ url, fetchFn });
say(results.map(({ id, name, status, reason }) => ({ id, name, status, reason })));

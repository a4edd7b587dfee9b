// Shared by the checks of the npm clients: one output line per check.
'use strict';

exports.run = async (client, checks) => {
  for (const [name, act] of Object.entries(checks)) {
    const title = `${client}: ${name}`;
    try {
      await act();
      console.log(`ok ${title}`);
    } catch (error) {
      console.log(`FAIL ${title} ${String(error.message).split(/\s+/).join(' ').slice(0, 300)}`);
    }
  }
};

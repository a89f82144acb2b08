//! People: users, projects, domains and what proves who they are.

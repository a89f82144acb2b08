# A login shell begins with the distribution's PATH; the user's environment comes before it.
PATH="/opt/atelier/user/bin:$HOME/.local/bin:$PATH"
VIRTUAL_ENV=/opt/atelier/user
export PATH VIRTUAL_ENV

# A login shell begins with the distribution's PATH; the environment in the volume and the image's come before it.
VIRTUAL_ENV="$HOME/work/.environment"
PATH="$VIRTUAL_ENV/bin:/opt/atelier/user/bin:$HOME/.local/bin:$PATH"
export PATH VIRTUAL_ENV

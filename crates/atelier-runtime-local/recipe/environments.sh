#!/bin/sh
# The second part of the recipe, inside the new root: its Python environments.
#
#   /opt/atelier/server       root's: JupyterLab, read-only for everybody
#   /opt/atelier/user         ma-user's: the kernels, pip and uv; it is chowned when this has ended
#   /opt/atelier/environment  what an environment on top of the user's begins as; each notebook has a copy in its volume
#
# Every package is pinned with its hashes, and only wheels are taken, so that no package's own code runs here.
set -eu
recipe=/run/build/recipe
server=/opt/atelier/server user=/opt/atelier/user template=/opt/atelier/environment
# Where the copy is.
environment=/home/ma-user/work/.environment
scratch=/run/build/scratch

say() { echo "atelier: $*"; }

mkdir -p "$scratch"
export HOME="$scratch" TMPDIR="$scratch" UV_CACHE_DIR="$scratch/uv" UV_NO_CONFIG=1 UV_NO_PROGRESS=1 \
    UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT=120 UV_HTTP_RETRIES=5 PIP_DEFAULT_TIMEOUT=120 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1

say "installing uv"
# The wheel of pip that ensurepip would install runs as it is; a virtual environment for it would take three seconds.
awk '/^[a-z0-9]/ { take = /^uv==/ } take' "$recipe/requirements-user.txt" > "$scratch/uv.txt"
pip=$(echo /usr/share/python-wheels/pip-*.whl)
python3 "$pip/pip" install --quiet --root-user-action=ignore --target "$scratch/boot" --only-binary :all: \
    --require-hashes -r "$scratch/uv.txt"
uv=$scratch/boot/bin/uv

# Hard links join the server's files to the cache alone. The user's are copies: a link would let ma-user's files be
# the server's.
fill() { # ENVIRONMENT REQUIREMENTS LINK-MODE
    "$uv" --quiet venv --no-project --python /usr/bin/python3 "$1"
    "$uv" --quiet pip sync --python "$1/bin/python" --require-hashes --only-binary :all: --link-mode "$3" "$2"
}
say "installing the notebook server's Python packages"
fill "$server" "$recipe/requirements-server.txt" hardlink
say "installing the notebooks' Python packages"
fill "$user" "$recipe/requirements-user.txt" copy

# What is installed there is found first, then what is in the image. The name is the first in the order in which Python
# reads these files, so that what others name comes after the image, as in every environment.
packages=$(cd "$user" && echo lib/python3.*/site-packages)
mkdir -p "$template/bin" "$template/$packages"
printf 'home = /usr/bin\ninclude-system-site-packages = false\n' > "$template/pyvenv.cfg"
echo "import site; site.addsitedir('$user/$packages')" > "$template/$packages/00-image.pth"
ln -s /usr/bin/python3 "$template/bin/python"
ln -s python "$template/bin/python3"
for name in pip pip3; do
    sed "1s|.*|#!$environment/bin/python|" "$user/bin/pip" > "$template/bin/$name"
    chmod 0755 "$template/bin/$name"
done

kernel=share/jupyter/kernels/python3
cp "$recipe/files/kernel.json" "$server/$kernel/kernel.json"
cp "$recipe/files/kernel.json" "$user/$kernel/kernel.json"
mkdir -p "$server/etc/jupyter/labconfig" "$server/share/jupyter/lab/settings"
cp "$recipe/files/jupyter_server_config.json" "$recipe/files/jupyter_server_config.py" "$server/etc/jupyter/"
cp "$recipe/files/page_config.json" "$server/etc/jupyter/labconfig/"
cp "$recipe/files/overrides.json" "$server/share/jupyter/lab/settings/"

# How kernels come to life: a package of one file, which the server finds by its entry point.
packages=$(echo "$server"/lib/python3.*/site-packages)
cp "$recipe/files/atelier_provisioner.py" "$packages/"
described=$packages/atelier_provisioner-1.dist-info
mkdir "$described"
printf 'Metadata-Version: 2.1\nName: atelier-provisioner\nVersion: 1\n' > "$described/METADATA"
printf '[jupyter_client.kernel_provisioners]\natelier-provisioner = atelier_provisioner:ForkingProvisioner\n' \
    > "$described/entry_points.txt"

# Bytecode now, because nobody can write it later into the server's environment. The packages' own tests are left out.
unset PYTHONDONTWRITEBYTECODE
say "compiling the notebook server"
"$server/bin/python" -m compileall -q -j 0 -x '/tests?/' "$server/lib"
say "compiling the notebooks' packages"
"$user/bin/python" -m compileall -q -j 0 -x '/tests?/' "$user/lib"
# The first plot would otherwise wait for a list of all fonts. It is put into ma-user's home when this has ended.
MPLCONFIGDIR=/run/build/matplotlib "$user/bin/python" -c 'import matplotlib.font_manager'
# uv's lock file is writable for everybody.
rm -rf "$scratch" "$server/.lock" "$user/.lock"

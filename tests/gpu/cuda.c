/* A pretended libcuda: that a program could load it, and which one it was. */
int cuInit(unsigned flags) { return flags == 0 ? 0 : 1; }
int cuDriverGetVersion(int *version) {
    *version = 4711;
    return 0;
}

/* A pretended NVML: as much of NVIDIA's management library as Atelier asks, for machines without a GPU.
 *
 * What there is it reads, at every question, from the file that FAKE_NVML names: the version of the driver in the first
 * line, and then a GPU in each line, as `uuid minor memory_mib used_mib busy_percent divided name...`. Without that
 * file the driver is not loaded. Everything else of a GPU is as real as on any machine: nothing. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16
enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, NOT_LOADED = 9, LOST = 15 };

struct gpu {
    char uuid[64], name[96];
    unsigned minor, busy, divided;
    unsigned long long memory_mib, used_mib;
};

/* A handle is the place of a GPU in the file, from 1 on. */
typedef struct gpu *handle;

static int read_all(struct gpu *gpus, char *version) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return -1;
    int count = fscanf(file, "%79s", version) == 1 ? 0 : -1;
    while (count >= 0 && count < MOST) {
        struct gpu *g = gpus + count;
        if (fscanf(file, "%63s %u %llu %llu %u %u %95[^\n]", g->uuid, &g->minor, &g->memory_mib, &g->used_mib, &g->busy,
                   &g->divided, g->name) != 7)
            break;
        count++;
    }
    fclose(file);
    return count;
}

static int find(handle which, struct gpu *found) {
    struct gpu gpus[MOST];
    char version[80];
    long place = (long)which;
    int count = read_all(gpus, version);
    if (place < 1 || place > count) return LOST;
    *found = gpus[place - 1];
    return SUCCESS;
}

static int copy(char *to, unsigned length, const char *from) {
    if (strlen(from) >= length) return INVALID;
    strcpy(to, from);
    return SUCCESS;
}

int nvmlInit_v2(void) {
    struct gpu gpus[MOST];
    char version[80];
    return read_all(gpus, version) < 0 ? NOT_LOADED : SUCCESS;
}

int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *to, unsigned length) {
    struct gpu gpus[MOST];
    char version[80];
    return read_all(gpus, version) < 0 ? NOT_LOADED : copy(to, length, version);
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    struct gpu gpus[MOST];
    char version[80];
    int there = read_all(gpus, version);
    if (there < 0) return NOT_LOADED;
    *count = there;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *which) {
    struct gpu found;
    *which = (handle)(long)(index + 1);
    return find(*which, &found) == SUCCESS ? SUCCESS : INVALID;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, handle *which) {
    struct gpu found;
    for (long place = 1; find((handle)place, &found) == SUCCESS; place++) {
        if (strcmp(found.uuid, uuid) == 0) {
            *which = (handle)place;
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(handle which, char *to, unsigned length) {
    struct gpu found;
    int answer = find(which, &found);
    return answer == SUCCESS ? copy(to, length, found.uuid) : answer;
}

int nvmlDeviceGetName(handle which, char *to, unsigned length) {
    struct gpu found;
    int answer = find(which, &found);
    return answer == SUCCESS ? copy(to, length, found.name) : answer;
}

int nvmlDeviceGetMinorNumber(handle which, unsigned *minor) {
    struct gpu found;
    int answer = find(which, &found);
    *minor = found.minor;
    return answer;
}

struct memory {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

int nvmlDeviceGetMemoryInfo_v2(handle which, struct memory *memory) {
    struct gpu found;
    int answer = find(which, &found);
    if (answer != SUCCESS) return answer;
    memory->total = found.memory_mib << 20;
    memory->used = found.used_mib << 20;
    memory->reserved = 0;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(handle which, unsigned *current, unsigned *pending) {
    struct gpu found;
    int answer = find(which, &found);
    if (answer != SUCCESS) return answer;
    if (found.divided > 1) return NOT_SUPPORTED;
    *current = *pending = found.divided;
    return SUCCESS;
}

struct rates {
    unsigned gpu, memory;
};

int nvmlDeviceGetUtilizationRates(handle which, struct rates *rates) {
    struct gpu found;
    int answer = find(which, &found);
    rates->gpu = found.busy;
    rates->memory = 0;
    return answer;
}

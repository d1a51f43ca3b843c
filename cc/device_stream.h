// The queue of a device, as headers name it that know nothing of CUDA.
#ifndef DETLOSS_CC_DEVICE_STREAM_H_
#define DETLOSS_CC_DEVICE_STREAM_H_

struct CUstream_st;

namespace detloss {

// A cudaStream_t. Functions that take one take pointers to the device's memory, put their work on the stream, and
// return without waiting for it.
using DeviceStream = CUstream_st*;

}  // namespace detloss

#endif  // DETLOSS_CC_DEVICE_STREAM_H_

// The entry points of cc/ on the host and on a device, under one name and with one signature, for kernels and XLA
// handlers that are templates of the place.
#ifndef DETLOSS_OPS_PLACES_H_
#define DETLOSS_OPS_PLACES_H_

#include <cstddef>
#include <vector>

#include "cc/hard_negative_mining.h"
#include "cc/ssd_loss.h"
#include "cc/yolo_ignore_mask.h"
#include "cc/yolov3_loss.h"

namespace detloss {

struct OnHost {
  template <class T>
  static size_t MiningBytes(const MiningOptions&, int64_t images, int64_t boxes) {
    return HardNegativeMiningWorkspaceBytes<T>(images, boxes);
  }
  template <class T>
  static size_t IgnoreMaskBytes(const IgnoreMaskShape& shape) {
    return YoloIgnoreMaskWorkspaceBytes<T>(shape);
  }
  template <class T>
  static size_t SsdBytes(const SsdLossOptions&, const SsdShape& shape) {
    return SsdLossWorkspaceBytes<T>(shape);
  }
  template <class T>
  static size_t SsdGradBytes(const SsdShape& shape) {
    return SsdLossGradWorkspaceBytes<T>(shape);
  }
  template <class T>
  static size_t YoloBytes(const YoloV3LossOptions&, const YoloV3Shape& shape) {
    return YoloV3LossWorkspaceBytes<T>(shape);
  }
  template <class T>
  static size_t YoloGradBytes(const YoloV3LossOptions&, const YoloV3Shape&) {
    return 0;
  }

  template <class T>
  static Status IgnoreMask(const IgnoreOptions& options, const IgnoreMaskShape& shape, const T* boxes,
                           const Compute<T>* true_boxes, bool* mask, void* workspace, Executor& executor) {
    return YoloIgnoreMask(options, shape, boxes, true_boxes, mask, workspace, executor);
  }
  template <class T>
  static Status SsdBackward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* loss_gradient,
                            const Compute<T>* y_true, const T* y_pred, const SsdLossResiduals<Compute<T>>& residuals,
                            T* gradient, void* workspace, Executor& executor) {
    return SsdLossBackward(options, shape, loss_gradient, y_true, y_pred, residuals, gradient, workspace, executor);
  }
  // Of one scale.
  template <class T>
  static Status YoloBackward(const YoloV3LossOptions& options, const YoloV3Shape& shape,
                             const Compute<T>* loss_gradient, const Compute<T>* y_true, const T* y_pred,
                             const YoloV3LossResiduals<Compute<T>>& residuals, T* gradient, void* /*workspace*/,
                             Executor& executor) {
    return YoloV3LossBackward<T>(options, shape, loss_gradient, {y_true}, {y_pred}, residuals, {gradient}, executor);
  }
};

#if defined(DETLOSS_HAS_CUDA)
struct OnDevice {
  template <class T>
  static size_t MiningBytes(const MiningOptions& options, int64_t images, int64_t boxes) {
    return HardNegativeMiningDeviceWorkspaceBytes<T>(options, images, boxes);
  }
  template <class T>
  static size_t IgnoreMaskBytes(const IgnoreMaskShape&) {
    return 0;
  }
  template <class T>
  static size_t SsdBytes(const SsdLossOptions& options, const SsdShape& shape) {
    return SsdLossDeviceWorkspaceBytes<T>(options, shape);
  }
  template <class T>
  static size_t SsdGradBytes(const SsdShape&) {
    return 0;
  }
  template <class T>
  static size_t YoloBytes(const YoloV3LossOptions& options, const YoloV3Shape& shape) {
    return YoloV3LossDeviceWorkspaceBytes<T>(options, shape);
  }
  template <class T>
  static size_t YoloGradBytes(const YoloV3LossOptions& options, const YoloV3Shape& shape) {
    return YoloV3LossGradDeviceWorkspaceBytes<T>(options, shape);
  }

  template <class T>
  static Status IgnoreMask(const IgnoreOptions& options, const IgnoreMaskShape& shape, const T* boxes,
                           const Compute<T>* true_boxes, bool* mask, void* /*workspace*/, DeviceStream stream) {
    return YoloIgnoreMask(options, shape, boxes, true_boxes, mask, stream);
  }
  template <class T>
  static Status SsdBackward(const SsdLossOptions& options, const SsdShape& shape, const Compute<T>* loss_gradient,
                            const Compute<T>* y_true, const T* y_pred, const SsdLossResiduals<Compute<T>>& residuals,
                            T* gradient, void* /*workspace*/, DeviceStream stream) {
    return SsdLossBackward(options, shape, loss_gradient, y_true, y_pred, residuals, gradient, stream);
  }
  // Of one scale.
  template <class T>
  static Status YoloBackward(const YoloV3LossOptions& options, const YoloV3Shape& shape,
                             const Compute<T>* loss_gradient, const Compute<T>* y_true, const T* y_pred,
                             const YoloV3LossResiduals<Compute<T>>& residuals, T* gradient, void* workspace,
                             DeviceStream stream) {
    return YoloV3LossBackward<T>(options, shape, loss_gradient, {y_true}, {y_pred}, residuals, {gradient}, workspace,
                                 stream);
  }
};
#endif

}  // namespace detloss

#endif  // DETLOSS_OPS_PLACES_H_

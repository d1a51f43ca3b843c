// An image's terms of the YOLOv3 loss from its sums over rows. Shared by host and device.
#ifndef DETLOSS_CC_YOLOV3_TERMS_H_
#define DETLOSS_CC_YOLOV3_TERMS_H_

#include <math.h>

#include "cc/math.h"
#include "cc/platform.h"

namespace detloss {

struct YoloTerms {
  double loss, box, xy, wh, object, no_object, class_term;
};

// A sum whose terms have overflowed in both directions is infinite: NaN is left to NaN logits.
DETLOSS_SHARED double WithoutOwnNan(double sum, bool has_nan) { return IsNan(sum) && !has_nan ? HUGE_VAL : sum; }

// `Sums` over the image's rows say where NaN logits are: `is_nan` among the five of box and objectness, which makes the
// loss NaN whatever counts, `class_is_nan` among those of classes that count.
template <class Sums>
DETLOSS_SHARED YoloTerms TermsOf(const Sums& sums) {
  YoloTerms terms;
  terms.xy = WithoutOwnNan(sums.xy, sums.is_nan);
  terms.wh = WithoutOwnNan(sums.wh, sums.is_nan);
  terms.box = WithoutOwnNan(sums.xy + sums.wh + sums.overlap, sums.is_nan);
  terms.object = WithoutOwnNan(sums.object, sums.is_nan);
  terms.no_object = sums.is_nan ? NAN : WithoutOwnNan(sums.no_object, false);
  terms.class_term = WithoutOwnNan(sums.class_term, sums.class_is_nan);
  terms.loss =
      WithoutOwnNan(terms.box + terms.object + terms.no_object + terms.class_term, sums.is_nan || sums.class_is_nan);
  return terms;
}

}  // namespace detloss

#endif  // DETLOSS_CC_YOLOV3_TERMS_H_

"""The numbers of a round's report. Pure: where they are read and how they are drawn is somebody else's business."""

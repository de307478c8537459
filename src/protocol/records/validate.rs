//! What Produce asks of the records of one partition.

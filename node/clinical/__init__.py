"""Who a patient is, what was ordered and what operation is planned: values and their matching, without input or output."""

-- What one insert brings stays one file of data. With a file or two for each of a hundred columns, an
-- insert of 20,000 rows costs the server twice as much; merges make wide parts of the larger ones.
ALTER TABLE {database}.events{on_cluster} MODIFY SETTING min_bytes_for_wide_part = 134217728;
ALTER TABLE {database}.open_calls{on_cluster} MODIFY SETTING min_bytes_for_wide_part = 134217728

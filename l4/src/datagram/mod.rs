mod batch;
mod table;

"""The CPU, by way of TVM; the only folder that imports TVM's compiler."""

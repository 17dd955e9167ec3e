%%% The order of runs: that in which they were begun, however many are begun in one millisecond.
-module(py_run_table_tests).

-include_lib("eunit/include/eunit.hrl").

ids_of_one_millisecond_are_in_their_order_test() ->
    Ids = [py_run_table:new_id(5) || _ <- lists:seq(1, 1_000)],
    ?assertEqual(lists:usort(Ids), Ids),
    ?assert(py_run_table:new_id(4) < hd(Ids)),
    ?assertEqual([32], lists:usort([byte_size(Id) || Id <- Ids])).

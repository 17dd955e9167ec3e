%%% Which known name a misspelled one is taken for.
-module(py_nearest_tests).

-include_lib("eunit/include/eunit.hrl").

known() -> [pool, worker, timeout, strings, dicts, size, python, python_path, max_queue, max_memory, max_shared_bytes, pools].

the_nearest_name_is_found_test_() ->
    [
        {lists:flatten(io_lib:format("~tp is ~tp", [Name, Meant])), ?_assertEqual({ok, Meant}, py_nearest:of_name(Name, known()))}
     || {Name, Meant} <- [
            {tmeout, timeout}, {timeotu, timeout}, {'Timeout', timeout}, {"timeout", timeout}, {<<"timeout">>, timeout},
            {sise, size}, {pol, pool}, {'pool', pool}, {'python-path', python_path}, {maxqueue, max_queue}, {'max-memory', max_memory},
            {max_shared_byte, max_shared_bytes}
        ]
    ].

what_is_like_none_is_taken_for_none_test_() ->
    [
        ?_assertEqual(none, py_nearest:of_name(Name, known()))
     || Name <- [zzz, '', "", <<>>, 1, {a}, [a], <<255>>, lists:duplicate(100_000, $a), 'worker-count', encoding]
    ].

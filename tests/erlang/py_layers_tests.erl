%%% The layers of the application: a module calls modules of lower layers only.
-module(py_layers_tests).

-include_lib("eunit/include/eunit.hrl").

%% From the top down. Modules of one layer do not call each other.
layers() ->
    [
        [py_app, 'py-util'],
        [py_sup, py],
        %% What an operator and the shell ask.
        [py_top],
        [py_cluster],
        [py_admin, py_print, py_doctor],
        [py_parallel, py_stream, py_ship, py_session, py_pushed],
        [py_sessions_sup],
        [py_session_sup],
        [py_session_server],
        [py_sessions],
        [py_async, py_chunks, py_source],
        %% Features are built on this one.
        [py_call],
        [py_route],
        [py_remote],
        [py_pools_sup],
        [py_pool_sup],
        [py_scheduler, py_pool],
        [py_worker_sup],
        [py_nodes],
        [py_exchange],
        [py_worker, py_erlport],
        [py_calls, py_settings],
        [py_request],
        [py_interpreter],
        [py_watchdog, py_reader],
        [py_launcher, py_channel],
        [py_erlport_wire],
        [py_wire],
        [py_shared],
        [py_shared_owner],
        %% Leaves: they call nothing but other leaves.
        [
            py_key, py_inflight, py_outlet, py_restart, py_owners, py_directory, py_events, py_chunk_size, py_progress
        ],
        [py_guard],
        [py_error],
        [py_sandbox],
        [py_bwrap, py_docker, py_program, py_seccomp],
        [py_atoms],
        [py_table],
        [py_config, py_erlport_options, py_etf],
        [py_term, py_haystack, py_deadline, py_excerpt, py_nearest, py_secret]
    ].

%% The modules that may read or write frames.
knows_bytes() -> [py_exchange, py_worker, py_erlport, py_erlport_wire, py_calls, py_request, py_reader, py_channel].

every_module_has_a_layer_test() ->
    ?assertEqual([], modules() -- lists:append(layers())),
    ?assertEqual([], lists:append(layers()) -- modules()).

a_module_calls_lower_layers_only_test_() ->
    [
        {lists:concat([Caller, " calls ", Callee]), ?_assert(depth(Caller) < depth(Callee))}
     || {Caller, Callee} <- calls()
    ].

frames_are_known_to_the_call_path_only_test() ->
    ?assertEqual([], [Caller || {Caller, py_wire} <- calls()] -- knows_bytes()).

the_pure_modules_call_no_process_and_no_port_test_() ->
    [
        {lists:concat([Module, " calls ", M, ":", F]), ?_assertNot(lists:member({M, F}, effects()))}
     || Module <- [
            py_wire, py_erlport_wire, py_erlport_options, py_term, py_haystack, py_inflight, py_restart, py_chunk_size,
            py_bwrap, py_docker, py_seccomp, py_guard, py_etf, py_excerpt, py_nearest
        ],
        {M, F, _} <- imports(Module)
    ].

effects() ->
    [{erlang, F} || F <- [send, '!', spawn, open_port, port_command, monitor, start_timer, monotonic_time]] ++
        [{ets, F} || F <- [insert, lookup, new]] ++ [{gen_server, F} || F <- [call, cast]].

depth(Module) -> depth(Module, layers(), 1).

depth(Module, [Layer | Below], Depth) ->
    case lists:member(Module, Layer) of
        true -> Depth;
        false -> depth(Module, Below, Depth + 1)
    end.

calls() ->
    All = modules(),
    lists:usort([{Caller, Callee} || Caller <- All, {Callee, _, _} <- imports(Caller),
        Callee =/= Caller, lists:member(Callee, All)]).

imports(Module) ->
    {ok, {Module, [{imports, Imports}]}} = beam_lib:chunks(filename:join(ebin(), atom_to_list(Module)), [imports]),
    Imports.

%% What is compiled beside `py' and is no test.
modules() ->
    Names = [filename:basename(File, ".beam") || File <- filelib:wildcard(filename:join(ebin(), "py*.beam"))],
    Sources = [list_to_atom(Name) || Name <- Names, is_source(Name)],
    ?assert(lists:member(py, Sources)),
    lists:sort(Sources).

is_source(Name) ->
    re:run(Name, "_tests$|_SUITE$") =:= nomatch.

ebin() -> filename:dirname(code:where_is_file("py.beam")).

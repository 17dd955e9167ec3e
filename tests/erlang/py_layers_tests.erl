%%% The layers of the application: the folders of `erlang/'. A module knows modules of its own folder and of lower ones only; what it is
%%% for stands in docs/architecture.md.
-module(py_layers_tests).

-include_lib("eunit/include/eunit.hrl").

%% From the top down.
layers() ->
    [
        app, api, services, functions, gateway, cluster, session, parallel, erlport, call, pool, worker, memory, interpreter, sandbox, wire, base
    ].

%% The modules that may read or write frames.
knows_bytes() ->
    [
        py_send, py_erlport, py_erlport_wire, py_worker, py_worker_state, py_routing, py_starting, py_draining, py_incarnations,
        py_calls, py_answers, py_request, py_reader, py_channel, py_gateway_wire
    ].

every_folder_is_a_layer_test_() ->
    in_time(fun() ->
        ?assertEqual([], lists:usort([folder(Module) || Module <- modules()]) -- layers())
    end).

%% edoc and Common Test look into no folder that they are not told.
rebar3_is_told_the_folders_test() ->
    {ok, Config} = file:consult(filename:join(py_checkout:root(), "rebar.config")),
    Edoc = proplists:get_value(source_path, proplists:get_value(edoc_opts, Config)),
    ?assertEqual([lists:concat(["erlang/", Layer]) || Layer <- layers()], Edoc),
    Suites = filelib:wildcard("tests/erlang/*/*_SUITE.erl", py_checkout:root()),
    Tested = proplists:get_value(dir, proplists:get_value(ct_opts, Config)),
    ?assertEqual(lists:usort([filename:dirname(Suite) || Suite <- Suites]), lists:sort(Tested)).

a_module_knows_lower_layers_only_test_() ->
    [
        {lists:concat([Module, " knows ", Known]), ?_assert(depth(Module) =< depth(Known))}
     || {Module, Known} <- known()
    ].

no_modules_call_each_other_in_a_circle_test_() ->
    in_time(fun() ->
        Graph = digraph:new(),
        _ = [digraph:add_vertex(Graph, Module) || Module <- modules()],
        _ = [digraph:add_edge(Graph, Caller, Callee) || {Caller, Callee} <- calls()],
        Circles = digraph_utils:cyclic_strong_components(Graph),
        digraph:delete(Graph),
        ?assertEqual([], Circles)
    end).

frames_are_known_to_the_call_path_only_test_() ->
    in_time(fun() ->
        ?assertEqual([], [Caller || {Caller, py_wire} <- calls()] -- knows_bytes())
    end).

the_pure_modules_call_no_process_and_no_port_test_() ->
    [
        {lists:concat([Module, " calls ", M, ":", F]), ?_assertNot(lists:member({M, F}, effects()))}
     || Module <- [
            py_wire, py_erlport_wire, py_erlport_options, py_term, py_haystack, py_inflight, py_restart, py_chunk_size,
            py_reason, py_exception, py_pool_table, py_options, py_mapping, py_call_options, py_parallel_options,
            py_seccomp, py_guard, py_etf, py_excerpt, py_nearest, py_run_state, py_prometheus, py_page_text
        ],
        {M, F, _} <- imports(Module)
    ].

effects() ->
    [{erlang, F} || F <- [send, '!', spawn, open_port, port_command, monitor, start_timer, monotonic_time]] ++
        [{ets, F} || F <- [insert, lookup, new]] ++ [{gen_server, F} || F <- [call, cast]].

%% All modules are read, on a machine that others use.
in_time(Test) -> {timeout, 60, Test}.

%%% docs/architecture.md

%% "| `folder` | `module`, `another` | what they do |", the folder once.
every_module_stands_in_the_table_with_its_folder_test_() ->
    in_time(fun() ->
        Page = read("docs/architecture.md"),
        {match, Rows} = re:run(Page, "^\\|(?: `([a-z]+)`)? \\| ((?:`'?py[a-z_-]*'?`(?:, )?)+) \\|.*\\|$", [global, multiline, {capture, all_but_first, list}]),
        {Described, _} = lists:mapfoldl(fun described/2, none, Rows),
        Sources = [filename:rootname(string:prefix(File, "erlang/")) || File <- sources()],
        ?assertEqual([], Sources -- lists:append(Described)),
        ?assertEqual([], lists:append(Described) -- Sources)
    end).

described(["", Modules], Folder) -> {[Folder ++ "/" ++ Module || Module <- named_in(Modules)], Folder};
described([Folder, Modules], _) -> described(["", Modules], Folder).

named_in(Modules) -> [string:trim(Module, both, "`'") || Module <- string:split(Modules, ", ", all)].

the_folders_of_the_table_are_the_layers_test() ->
    {match, Folders} = re:run(read("docs/architecture.md"), "^\\| `([a-z]+)` \\| `'?py", [global, multiline, {capture, all_but_first, list}]),
    ?assertEqual([atom_to_list(Layer) || Layer <- layers()], lists:append(Folders)).

%% "| looked for | `file` | `what it is there` |"
each_file_that_a_newcomer_is_shown_has_what_it_is_shown_for_test_() ->
    {match, Rows} = re:run(read("docs/architecture.md"), "^\\| ([^|]+) \\| `([a-z]+/[^`]+)` \\| `([^`]+)` \\|$", [
        global, multiline, {capture, all_but_first, list}
    ]),
    ?assert(length(Rows) > 10),
    [
        {Wanted, ?_assertNotEqual(nomatch, binary:match(read(File), unicode:characters_to_binary(Text)))}
     || [Wanted, File, Text] <- Rows
    ].

%% The functions that users call, the types that those take, and what they fail with; all else is `@private'.
what_is_public_is_this_test_() ->
    in_time(fun() ->
        Public = [filename:basename(File, ".erl") || File <- sources(), re:run(read(File), "^%%% @private$", [multiline]) =:= nomatch],
        ?assertEqual(
            lists:sort([
                "py", "py-util", "py_run", "py_env", "py_session", "py_cluster", "py_erlport", "py_haystack", "py_events", "py_metrics", "py_dashboard", "py_service",
                "py_error", "py_config", "py_pool_options", "py_call_options", "py_session_options", "py_parallel_options", "py_gateway_options", "py_service_options", "py_function",
                "py_mapping", "py_term", "py_trace"
            ]),
            lists:sort(Public)
        )
    end).

sources() -> filelib:wildcard("erlang/*/*.erl", py_checkout:root()).

read(File) ->
    {ok, Text} = file:read_file(filename:join(py_checkout:root(), File)),
    Text.

%%% Who knows whom

depth(Module) ->
    Folder = folder(Module),
    length(lists:takewhile(fun(Layer) -> Layer =/= Folder end, layers())).

folder(Module) ->
    Source = proplists:get_value(source, Module:module_info(compile)),
    list_to_atom(filename:basename(filename:dirname(Source))).

calls() ->
    All = modules(),
    lists:usort([{Caller, Callee} || Caller <- All, {Callee, _, _} <- imports(Caller),
        Callee =/= Caller, lists:member(Callee, All)]).

%% Each module that another one calls, has a type of, or names with a function of it: for a supervisor, another node, `apply'.
known() ->
    All = modules(),
    lists:usort([{Module, Known} || Module <- All, Known <- named(forms(Module)), Known =/= Module, lists:member(Known, All)]).

named({remote, _, {atom, _, Module}, _}) -> [Module];
named({remote_type, _, [{atom, _, Module}, _, Arguments]}) -> [Module | named(Arguments)];
named({'fun', _, {function, {atom, _, Module}, _, _}}) -> [Module];
named({tuple, _, Elements}) -> by_name(Elements) ++ named(Elements);
named({call, _, Function, Arguments}) -> by_name(Arguments) ++ named(Function) ++ named(Arguments);
named(Tuple) when is_tuple(Tuple) -> named(tuple_to_list(Tuple));
named([First | Rest]) -> named(First) ++ named(Rest);
named(_) -> [].

%% `M, F, [_]' side by side, where M has an F of so many arguments.
by_name([{atom, _, Module}, {atom, _, Function} = Second, Arguments | Rest]) ->
    [Module || length_of(Arguments) =/= none, is_exported(Module, Function, length_of(Arguments))] ++
        by_name([Second, Arguments | Rest]);
by_name([_ | Rest]) ->
    by_name(Rest);
by_name([]) ->
    [].

is_exported(Module, Function, Arity) ->
    lists:member(Module, modules()) andalso lists:member({Function, Arity}, Module:module_info(exports)).

length_of({nil, _}) -> 0;
length_of({cons, _, _, Tail}) -> case length_of(Tail) of none -> none; Arity -> Arity + 1 end;
length_of(_) -> none.

forms(Module) ->
    {ok, {Module, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(beam(Module), [abstract_code]),
    Forms.

imports(Module) ->
    {ok, {Module, [{imports, Imports}]}} = beam_lib:chunks(beam(Module), [imports]),
    Imports.

beam(Module) -> filename:join(ebin(), atom_to_list(Module)).

%% What is compiled beside `py' and is no test.
modules() ->
    Names = [filename:basename(File, ".beam") || File <- filelib:wildcard(filename:join(ebin(), "py*.beam"))],
    Sources = [list_to_atom(Name) || Name <- Names, is_source(Name)],
    ?assert(lists:member(py, Sources)),
    lists:sort(Sources).

is_source(Name) ->
    re:run(Name, "_tests$|_SUITE$") =:= nomatch.

ebin() -> filename:dirname(code:where_is_file("py.beam")).

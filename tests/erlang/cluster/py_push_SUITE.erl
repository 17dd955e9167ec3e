%%% Modules on their way to other nodes, where that is not as it should be.
-module(py_push_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1]).
-export([
    what_belongs_to_python_is_replaced_where_that_is_asked_for/1,
    a_package_for_which_there_is_no_room_leaves_nothing/1,
    a_node_that_stands_still_has_a_module_when_it_goes_on/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        what_belongs_to_python_is_replaced_where_that_is_asked_for,
        a_package_for_which_there_is_no_room_leaves_nothing,
        a_node_that_stands_still_has_a_module_when_it_goes_on
    ].

init_per_suite(Config) ->
    Pair = py_distribution:start_pair(1, Config),
    Directory = filename:join(?config(priv_dir, Config), "modules"),
    ok = file:make_dir(Directory),
    undefined = py:func('erl.calls.pushed', use, [list_to_binary(Directory)]),
    [{directory, Directory} | Pair].

end_per_suite(Config) -> py_distribution:stop_pair(Config).

file(Config, Path, Content) ->
    File = filename:join(?config(directory, Config), Path),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, Content).

what_belongs_to_python_is_replaced_where_that_is_asked_for(Config) ->
    Node = ?config(node, Config),
    On = #{node => Node},
    file(Config, "colorsys.py", <<"def ours():\n    return True\n">>),
    try
        ?assertError({python, 'builtins.ValueError', "colorsys belongs to Python" ++ _, _}, py_cluster:push(colorsys)),
        ?assertError({python, 'builtins.ValueError', "colorsys belongs to Python" ++ _, _}, py_cluster:push(colorsys, #{replace => false})),
        ?assertError({python, 'builtins.AttributeError', _, _}, py:func(colorsys, ours, On)),
        ?assertEqual([{Node, ok}], py_cluster:push(colorsys, #{replace => true})),
        ?assertEqual(true, py:func(colorsys, ours, On)),
        %% It is tried as any other.
        file(Config, "colorsys.py", <<"1 / 0\n">>),
        ?assertError({python, 'builtins.ZeroDivisionError', _, _}, py_cluster:push(colorsys, #{replace => true})),
        ?assertEqual(true, py:func(colorsys, ours, On)),
        ok = file:delete(filename:join(?config(directory, Config), "colorsys.py")),
        ?assertEqual(lists:sort([{node(), ok}, {Node, ok}]), py_cluster:unpush(colorsys)),
        ?assertEqual("rgb_to_hls", py:attr(py:const(colorsys, rgb_to_hls, On), '__name__'))
    after
        file:delete(filename:join(?config(directory, Config), "colorsys.py"))
    end,
    %% What workers are made of never is, and what has no source can't be.
    [?assertError({python, 'builtins.ValueError', _, _}, py_cluster:push(Name, #{replace => true})) || Name <- [erl, cloudpickle, sys, math]],
    ?assertError(badarg, py_cluster:push(colorsys, #{replace => 1})),
    ?assertError(badarg, py_cluster:push(colorsys, #{replaces => true})),
    ?assertError(badarg, py_cluster:push("colorsys", #{})).

a_package_for_which_there_is_no_room_leaves_nothing(Config) ->
    Node = ?config(node, Config),
    On = #{node => Node},
    [file(Config, Path, <<"name = 'first'\n">>) || Path <- ["py_roomy/__init__.py", "py_roomy/inner/__init__.py", "py_roomy/last.py"]],
    Modules = erpc:call(Node, py_directory, path, [erpc:call(Node, py_directory, modules, [])]),
    There = fun() -> lists:sort(filelib:wildcard("py_*/**", Modules)) end,
    %% The last of its files can't be written: its name is taken.
    Taken = filename:join(Modules, "py_roomy/last.py.new/x"),
    ok = filelib:ensure_dir(Taken),
    [{Node, {error, {py, {ship, {_, eisdir}}} = Error}}] = py_cluster:push(py_roomy),
    ?assertNotEqual(nomatch, string:find(py_error:text(Error), "nothing was changed")),
    ?assertEqual(["py_roomy/last.py.new"], There()),
    ok = file:del_dir_r(filename:join(Modules, "py_roomy")),
    ?assertError({python, 'builtins.ModuleNotFoundError', _, _}, py:const(py_roomy, name, On)),
    %% The next push has what it needs, and a version that is there stays when the one after it can't be written.
    ?assertEqual([{Node, ok}], py_cluster:push(py_roomy)),
    Whole = There(),
    ok = filelib:ensure_dir(Taken),
    file(Config, "py_roomy/last.py", <<"name = 'second'\n">>),
    [{Node, {error, {py, {ship, {_, eisdir}}}}}] = py_cluster:push(py_roomy),
    ok = file:del_dir_r(filename:dirname(Taken)),
    ?assertEqual(Whole, There() -- ["py_roomy/__pycache__"]),
    ?assertEqual("first", py:const('py_roomy.last', name, On)),
    %% What to do where a file system is full.
    [
        ?assertNotEqual(nomatch, string:find(py_error:text({py, {ship, Full}}), Words))
     || {Full, Words} <- [
            {{<<"/dev/shm/x/modules/a.py">>, enospc}, "no space left on device; make room there"},
            {{unpack, {"/home/x/.cache/erl-py/1", enospc}}, "XDG_CACHE_HOME"}
        ]
    ],
    _ = py_cluster:unpush(py_roomy),
    ?assertEqual([], There()).

a_node_that_stands_still_has_a_module_when_it_goes_on(Config) ->
    Node = ?config(node, Config),
    file(Config, "py_patience.py", ["name = 'here'\n", lists:duplicate(300_000, $#), "\n"]),
    Version = {erlang:system_time(microsecond), node()},
    {ok, Content} = file:read_file(filename:join(?config(directory, Config), "py_patience.py")),
    Module = {<<"py_patience">>, Version, [{<<"py_patience.py">>, Content}]},
    py_distribution:while_frozen(Node, fun() ->
        ?assertEqual([{Node, {error, {py, timeout}}}], py_cluster_modules:give([Node], Module, 50))
    end),
    py_eventually:equals({ok, Module}, fun() -> erpc:call(Node, py_cluster_modules, module, [<<"py_patience">>]) end),
    ?assertEqual("here", py:const(py_patience, name, #{node => Node})).

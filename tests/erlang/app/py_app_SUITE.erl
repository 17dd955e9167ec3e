%%% What the application says of itself: its registered names, its processes, what of it is public, and what the shell knows of that.
-module(py_app_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0]).
-export([
    every_name_that_is_registered_is_the_applications/1,
    the_pages_draw_the_processes_that_there_are/1,
    a_stop_ends_the_children_of_pythons_group/1,
    what_is_public_has_docs_in_its_beam/1,
    a_shell_that_is_no_terminal_answers_h/1
]).

%% The longest that a shell may take on a busy machine.
-define(LONGEST_RUN, "120").

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        every_name_that_is_registered_is_the_applications,
        the_pages_draw_the_processes_that_there_are,
        a_stop_ends_the_children_of_pythons_group,
        what_is_public_has_docs_in_its_beam,
        a_shell_that_is_no_terminal_answers_h
    ].

every_name_that_is_registered_is_the_applications(Config) ->
    application:set_env(py, state_dir, filename:join(?config(priv_dir, Config), "state")),
    ok = py_application:start(),
    %% The names of what is started with the first of it.
    [] = py_run:list(),
    Registered = [Name || Name <- registered(), application:get_application(whereis(Name)) =:= {ok, py}],
    {ok, Declared} = application:get_key(py, registered),
    ok = py_application:stop(),
    application:unset_env(py, state_dir),
    ?assertEqual(lists:sort(Registered), lists:sort(Declared)).

the_pages_draw_the_processes_that_there_are(_Config) ->
    ok = py_application:start(),
    Children = lists:reverse([atom_to_list(Id) || {Id, _, _, _} <- supervisor:which_children(py_sup)]),
    ok = py_application:stop(),
    ?assertEqual(Children, children_in("README.md")),
    ?assertEqual(Children, children_in("docs/architecture.md")).

%% Those right below the root of the drawing.
children_in(Page) ->
    [_, Drawing | _] = re:split(text(Page), "^py_sup +.*$", [multiline, {return, list}]),
    {match, Names} = re:run(hd(string:split(Drawing, "```")), "^[|`]-- ([a-z_]+)", [global, multiline, {capture, all_but_first, list}]),
    lists:append(Names).

%% As docs/servers.md says it.
a_stop_ends_the_children_of_pythons_group(_Config) ->
    ok = py_application:start([{default, #{size => 1}}]),
    Ends = child(["sleep", "300"], []),
    Stays = [child(["sleep", "300"], [{start_new_session, true}]), child(["setsid", "sleep", "300"], [])],
    Tied = [
        child(["setpriv", "--pdeathsig", "KILL", "sleep", "300"], [{start_new_session, true}])
     || os:find_executable("setpriv") =/= false
    ],
    %% None is on its way to what it becomes.
    [py_eventually:holds(fun() -> {ok, <<"sleep\n">>} =:= file:read_file(comm(Child)) end) || Child <- [Ends | Stays ++ Tied]],
    ok = py_application:stop(),
    try
        [py_eventually:holds(fun() -> not py_os_process:alive(Child) end) || Child <- [Ends | Tied]],
        ?assertEqual(Stays, [Child || Child <- Stays, py_os_process:alive(Child)])
    after
        lists:foreach(fun py_os_process:kill/1, Stays)
    end.

child(Command, Keywords) ->
    py:attr(py:func(subprocess, 'Popen', [[list_to_binary(Word) || Word <- Command]], Keywords, #{return => ref}), pid).

comm(OsPid) -> ["/proc/", integer_to_list(OsPid), "/comm"].

%%% What is public

%% Which these are py_layers_tests says.
public() ->
    Sources = filelib:wildcard(filename:join([py_checkout:root(), "erlang", "*", "*.erl"])),
    Public = [Source || Source <- Sources, re:run(text(Source), "^%%% @private$", [multiline]) =:= nomatch],
    [list_to_atom(filename:basename(Source, ".erl")) || Source <- Public].

what_is_public_has_docs_in_its_beam(_Config) ->
    Documented = [{Module, code:get_doc(Module)} || Module <- public()],
    ?assertEqual([], [Module || {Module, Docs} <- Documented, not is_docs(Docs)]),
    %% Those of builtins and operators are Python's.
    ?assertEqual([], [{Module, F} || {Module, Docs} <- Documented, F <- lists:usort(untold(Docs)), not is_python(Module, F)]).

%% Functions that have no sentence at any arity.
untold({ok, {docs_v1, _, _, _, _, _, Entries}}) ->
    Functions = [{F, Sentence} || {{function, F, _}, _, _, Sentence, _} <- Entries, Sentence =/= hidden],
    [F || {F, _} <- Functions] -- [F || {F, #{}} <- Functions, {G, _} <- Functions, F =:= G].

is_python(py, Function) ->
    Text = iolist_to_binary([text(File) || File <- ["erlang/api/py_builtins.hrl", "erlang/api/py_operators.hrl"]]),
    binary:match(Text, iolist_to_binary(io_lib:format("-spec ~p(", [Function]))) =/= nomatch;
is_python(_Module, _Function) ->
    false.

is_docs({ok, {docs_v1, _, erlang, _, #{}, _, [_ | _]}}) -> true;
is_docs(_) -> false.

%%% The shell

a_shell_that_is_no_terminal_answers_h(_Config) ->
    %% Typed by hand this comes later than py; from a pipe it need not, and the first line waits for it.
    Printed = shell("{ok, _} = application:ensure_all_started(py).\nh(py, func, 5).\npy:add(1, 2).\nhalt().\n"),
    [
        ?assertNotEqual(nomatch, string:find(Printed, Text), Printed)
     || Text <- ["Call a function of a module with positional and keyword arguments.", "3"]
    ].

%% As somebody has it who types these lines; with the application under test, whatever was built last.
shell(Typed) ->
    Ebin = filename:dirname(filename:absname(code:which(py))),
    Port = open_port({spawn_executable, os:find_executable("sh")}, [
        {args, ["-c", "printf '%s' \"$1\" | timeout -k 5 " ?LONGEST_RUN " make -o build shell", "sh", Typed]},
        {cd, py_checkout:root()},
        {env, [{"ERL_FLAGS", "-pa " ++ Ebin}, {"MAKEFLAGS", false}, {"MFLAGS", false}, {"MAKELEVEL", false}]},
        exit_status,
        stderr_to_stdout,
        binary,
        hide
    ]),
    collect(Port, <<>>).

collect(Port, Printed) ->
    receive
        {Port, {data, More}} -> collect(Port, <<Printed/binary, More/binary>>);
        {Port, {exit_status, 0}} -> unicode:characters_to_list(Printed);
        {Port, {exit_status, Status}} -> ct:fail({Status, Printed})
    end.

text(Page) ->
    {ok, Text} = file:read_file(filename:join(py_checkout:root(), Page)),
    Text.

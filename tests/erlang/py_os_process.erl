%%% The operating system's processes, as `/proc' shows them.
-module(py_os_process).

-export([alive/1, descendants/0, descendants/1, kill/1, pythons/0, workers/0]).

-type os_pid() :: pos_integer().

%% @doc Whether the process runs; one that has ended and waits for its parent does not.
-spec alive(os_pid()) -> boolean().
alive(OsPid) ->
    case stat(OsPid) of
        {_Parent, State} -> State =/= $Z;
        none -> false
    end.

%% @doc Every process below this BEAM that is not one of its own helper programs, with its command line.
-spec descendants() -> [{os_pid(), string()}].
descendants() -> descendants(list_to_integer(os:getpid())).

-spec descendants(os_pid()) -> [{os_pid(), string()}].
descendants(OsPid) ->
    Parents = [{Pid, Parent} || Pid <- all(), {Parent, State} <- [stat(Pid)], State =/= $Z],
    [{Pid, Command} || Pid <- below(OsPid, Parents), Command <- [command(Pid)], not is_helper(Command)].

%% @doc The worker interpreters below this BEAM.
-spec pythons() -> [os_pid()].
pythons() -> [Pid || {Pid, Command} <- descendants(), string:find(Command, "erl.__main__") =/= nomatch].

%% @doc Every process below this BEAM but the helper programs, sorted: where user code has left none, its interpreters.
-spec workers() -> [os_pid()].
workers() -> lists:sort([Pid || {Pid, Command} <- descendants(), string:find(Command, "py-watchdog") =:= nomatch]).

%% @doc `kill -9'.
-spec kill(os_pid()) -> ok.
kill(OsPid) ->
    "" = os:cmd("kill -9 " ++ integer_to_list(OsPid)),
    ok.

below(OsPid, Parents) ->
    lists:append([[Pid | below(Pid, Parents)] || {Pid, Parent} <- Parents, Parent =:= OsPid]).

is_helper(Command) ->
    lists:any(fun(Name) -> string:find(Command, Name) =/= nomatch end, ["erl_child_setup", "inet_gethost"]).

all() ->
    {ok, Names} = file:list_dir("/proc"),
    [list_to_integer(Name) || Name <- Names, lists:all(fun(C) -> C >= $0 andalso C =< $9 end, Name)].

%% proc(5): "pid (comm) state ppid ..."; comm may hold anything, so it is looked for from the end.
stat(OsPid) ->
    case file:read_file(["/proc/", integer_to_list(OsPid), "/stat"]) of
        {ok, Text} ->
            [_, After] = string:split(Text, ") ", trailing),
            [<<State>>, Parent | _] = string:split(After, " ", all),
            {binary_to_integer(Parent), State};
        {error, _} ->
            none
    end.

command(OsPid) ->
    case file:read_file(["/proc/", integer_to_list(OsPid), "/cmdline"]) of
        {ok, Text} -> [case C of 0 -> $\s; _ -> C end || <<C>> <= Text];
        {error, _} -> ""
    end.

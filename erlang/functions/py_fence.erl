%%% @doc Whether anything of an attempt can still run: the process group that it ran in, known by its leader's number, when that was started,
%%% and the boot of the machine.
%%%
%%% A group's number is nobody else's as long as any process is in it (the kernel gives it to no new process before). So, in one boot:
%%% where a process of that number is another one, the group is empty; where there is none, processes that name the group are what the
%%% leader has forked and left.
%%% @private
-module(py_fence).

-export([group/1, box/1, own/0, boot/0, is_alive/1, left/1, await/2]).

%% How long what is left has to go by itself: a Python leaves half a second after its BEAM at the most, if it can.
-define(GRACE_MS, 1_200).
-define(LOOK_MS, 10).
-define(SOME_MS, 50).
%% From then on it is looked at, and killed, more rarely.
-define(SLOW_MS, 250).

%% @doc What the group that a process leads is known by; `error' where it is gone, or leads none: what is killed is never another one's.
-spec group(OsPid :: pos_integer()) -> {ok, py_run_state:process()} | error.
group(OsPid) ->
    case group_of(integer_to_list(OsPid)) of
        OsPid -> identity(OsPid);
        none ->
            case filelib:is_file("/proc/self/stat") of
                true -> error;
                false -> identity(OsPid)
            end;
        _ -> error
    end.

%% @doc The same of the program that has made a box: its first process is none of the group, and ends with it, after it.
-spec box(OsPid :: pos_integer()) -> {ok, py_run_state:process()} | error.
box(OsPid) ->
    case {group(OsPid), [{First, py_launcher:identity(First)} || First <- py_sandbox_processes:children(OsPid)]} of
        {{ok, Process}, [{_, Started} | _] = Inside} when is_binary(Started) -> {ok, Process#{inside => [Each || {_, Known} = Each <- Inside, is_binary(Known)]}};
        _ -> error
    end.

identity(OsPid) ->
    case py_launcher:identity(OsPid) of
        Started when is_binary(Started) -> {ok, #{os_pid => OsPid, started => Started, boot => boot(), namespace => namespace()}};
        %% A system without /proc.
        unknown when OsPid > 0 -> {ok, #{os_pid => OsPid, started => <<>>, boot => <<>>, namespace => <<>>}};
        _ -> error
    end.

%% @doc What this node's process is known by.
-spec own() -> py_run_state:process().
own() ->
    {ok, Process} = identity(list_to_integer(os:getpid())),
    Process.

%% @doc Which boot of the machine this is; empty where the system does not say so.
-spec boot() -> binary().
boot() ->
    case persistent_term:get({?MODULE, boot}, none) of
        none ->
            Boot = text_of(file:read_file("/proc/sys/kernel/random/boot_id")),
            persistent_term:put({?MODULE, boot}, Boot),
            Boot;
        Boot ->
            Boot
    end.

namespace() ->
    case file:read_link("/proc/self/ns/pid") of
        {ok, Text} -> unicode:characters_to_binary(Text);
        {error, _} -> <<>>
    end.

text_of({ok, Text}) -> string:trim(Text);
text_of({error, _}) -> <<>>.

%% @doc Whether this very process runs.
-spec is_alive(py_run_state:process() | map()) -> boolean().
is_alive(#{os_pid := OsPid, started := Started} = Process) -> is_here(Process) andalso is_same(py_launcher:identity(OsPid), Started, OsPid);
is_alive(_) -> false.

%% Of another boot nothing runs. Of another namespace neither: it ended with its first process, or it is another container's, which
%% must not be given the same directory.
is_here(#{boot := Boot, namespace := Namespace}) -> Boot =:= boot() andalso Namespace =:= namespace();
is_here(_) -> false.

is_same(unknown, _Started, OsPid) -> element(1, py_program:run("/bin/sh", [{args, ["-c", "kill -0 $1 2>/dev/null", "kill", integer_to_list(OsPid)]}], 5_000)) =:= 0;
is_same(Now, Started, _OsPid) -> Now =:= Started.

%% @doc The processes of the group that are left.
-spec left(py_run_state:process()) -> [OsPid :: pos_integer()].
left(Process) ->
    case is_here(Process) of
        true -> of_group(Process) ++ inside(Process);
        false -> []
    end.

%% The kernel lets the first process of a box end when all others have.
inside(Process) -> [First || {First, Started} <- maps:get(inside, Process, []), py_launcher:identity(First) =:= Started].

of_group(#{os_pid := Leader, started := Started}) ->
    case py_launcher:identity(Leader) of
        %% A later one of the same number.
        Other when is_binary(Other), Other =/= Started -> [];
        unknown -> [Leader || is_group(Leader)];
        _ -> members(Leader)
    end.

is_group(Leader) ->
    {Status, _} = py_program:run("/bin/sh", [{args, ["-c", "kill -0 -- -$1 2>/dev/null", "kill", integer_to_list(Leader)]}], 5_000),
    Status =:= 0.

members(Group) ->
    case file:list_dir("/proc") of
        {ok, Names} -> [OsPid || [C | _] = Name <- Names, C >= $0, C =< $9, OsPid <- [list_to_integer(Name)], is_member(Name, Group)];
        {error, _} -> []
    end.

is_member(Name, Group) -> group_of(Name) =:= Group.

%% proc(5): behind the name in parentheses the state, the parent, the group; what has ended and waits for its parent runs no more.
group_of(Name) ->
    case file:read_file(["/proc/", Name, "/stat"]) of
        {ok, Text} ->
            case string:split(Text, ") ", trailing) of
                [_, <<State, $\s, Rest/binary>>] when State =/= $Z, State =/= $X ->
                    [_Parent, Group | _] = binary:split(Rest, <<" ">>, [global]),
                    binary_to_integer(Group);
                _ -> none
            end;
        {error, _} -> none
    end.

%% @doc Wait until the group is empty. What is left after the grace is killed; what can't be is named to `Tell', again and again.
-spec await(py_run_state:process(), Tell :: fun(([pos_integer()]) -> term())) -> ok.
await(Process, Tell) -> await(Process, Tell, erlang:monotonic_time(millisecond) + ?GRACE_MS, none).

await(#{os_pid := Leader} = Process, Tell, Until, Told) ->
    IsEarly = erlang:monotonic_time(millisecond) < Until,
    %% As long as the leader is there nobody has to look for the others.
    case IsEarly andalso is_alive(Process) orelse left(Process) of
        true -> receive after ?LOOK_MS -> await(Process, Tell, Until, Told) end;
        [] -> ok;
        [Leader] when IsEarly -> receive after ?LOOK_MS -> await(Process, Tell, Until, Told) end;
        _ when IsEarly -> receive after ?SOME_MS -> await(Process, Tell, Until, Told) end;
        Left -> await_killed(Process, Left, Tell, Until, Told)
    end.

await_killed(#{os_pid := Leader} = Process, Left, Tell, Until, Told) ->
    of_group(Process) =:= [] orelse py_launcher:kill_group(Leader),
    lists:foreach(fun py_launcher:kill/1, inside(Process)),
    %% The first look comes right after the first kill.
    Told =:= none orelse Told =:= Left orelse Tell(Left),
    receive after if Told =:= none -> ?LOOK_MS; true -> ?SLOW_MS end -> await(Process, Tell, Until, Left) end.

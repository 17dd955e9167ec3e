%%% @doc Ends the interpreters that nobody is left to end.
%%%
%%% A Python leaves by itself when its port closes, but not while C code keeps its interpreter lock, and what it has forked
%%% does not leave at all. So two more look after it: this process, for an interpreter whose worker process was killed, and
%%% a shell of a few lines, for when the BEAM was killed. The shell is told which interpreters there are, and sees from the
%%% end of its input that there is no BEAM any more. Both give Python the time to end in good order first.
%%%
%%% ```
%%% > + OsPid      an interpreter
%%% > - OsPid      is none any more
%%% > q            leave
%%% '''
%%% @private
-module(py_watchdog).
-behaviour(gen_server).

-export([start_link/0, watch/2, forget/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    port :: port(),
    %% Which process has which interpreters.
    owners = #{} :: #{pid() => {reference(), #{os_pid() => [file:filename_all()]}}}
}).
-type os_pid() :: non_neg_integer().

%% Python takes half a second to leave at the most, if it can.
-define(GRACE_MS, 600).
-define(LEAVE_MS, 1_000).
%% `$1' is the BEAM: where it lives, its watchdog process was killed, and the supervisor is ending the interpreters in good
%% order; or it is halting, and waits for its ports: one whose Python reads nothing would keep it so for ever. Either way what is left
%% after two more seconds goes. As long as its parent has not taken note of its death the BEAM is a zombie. `$2' is the application's
%% directory, with the shared memory, and links to the sockets of its gateways; a BEAM that ends in good order deletes these itself.
-define(SCRIPT,
    "pids=\n"
    "while read -r what pid; do\n"
    "    case $what in\n"
    "    +) pids=\"$pids $pid\" ;;\n"
    "    -) left=; for p in $pids; do [ $p = $pid ] || left=\"$left $p\"; done; pids=$left ;;\n"
    "    q) exit ;;\n"
    "    esac\n"
    "done\n"
    "[ -z \"$pids\" ] || sleep 0.6\n"
    "lives() {\n"
    "    kill -0 $1 || return 1\n"
    "    read -r stat < /proc/$1/stat || return 1\n"
    "    case ${stat##*) } in [ZX]*) return 1 ;; esac\n"
    "}\n"
    "if [ -n \"$pids\" ] && lives $1; then sleep 2; fi\n"
    "for p in $pids; do kill -s KILL -- -$p; done\n"
    "if lives $1; then exit; fi\n"
    "for s in \"$2\"/socket-*; do\n"
    "    inode=$(ls -diL -- \"$s\") || continue\n"
    "    [ \"${s##*/socket-}\" = \"${inode%% *}\" ] && rm -f -- \"$(readlink \"$s\")\"\n"
    "done\n"
    "rm -rf --one-file-system -- \"$2\"\n"
).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc This interpreter, with what it forks, and these files are to go with the calling process.
-spec watch(os_pid(), [file:filename_all()]) -> ok.
watch(OsPid, Files) -> gen_server:cast(?MODULE, {watch, self(), OsPid, Files}).

%% @doc The calling process has ended it itself.
-spec forget(os_pid()) -> ok.
forget(OsPid) -> gen_server:cast(?MODULE, {forget, self(), OsPid}).

-spec init([]) -> {ok, #state{}}.
init([]) ->
    process_flag(trap_exit, true),
    {ok, #state{port = open()}}.

open() ->
    Args = ["-c", "exec 2>/dev/null\n" ++ ?SCRIPT, "py-watchdog", os:getpid(), py_directory:path("")],
    open_port({spawn_executable, "/bin/sh"}, [{args, Args}, exit_status, binary, hide]).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(_Request, _From, State) -> {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({watch, Owner, OsPid, Files}, #state{owners = Owners} = State) ->
    tell("+", OsPid, State),
    Watched =
        case Owners of
            #{Owner := {Monitor, Interpreters}} -> {Monitor, Interpreters#{OsPid => Files}};
            #{} -> {monitor(process, Owner), #{OsPid => Files}}
        end,
    {noreply, State#state{owners = Owners#{Owner => Watched}}};
handle_cast({forget, Owner, OsPid}, #state{owners = Owners} = State) ->
    tell("-", OsPid, State),
    case Owners of
        #{Owner := {Monitor, Interpreters}} when is_map_key(OsPid, Interpreters), map_size(Interpreters) =:= 1 ->
            demonitor(Monitor, [flush]),
            {noreply, State#state{owners = maps:remove(Owner, Owners)}};
        #{Owner := {Monitor, Interpreters}} ->
            {noreply, State#state{owners = Owners#{Owner := {Monitor, maps:remove(OsPid, Interpreters)}}}};
        #{} ->
            {noreply, State}
    end;
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', _, process, Owner, _}, #state{owners = Owners} = State) ->
    case maps:take(Owner, Owners) of
        {{_, Interpreters}, Left} ->
            _ = [erlang:send_after(?GRACE_MS, self(), {kill, OsPid}) || OsPid <- maps:keys(Interpreters)],
            _ = [file:delete(File) || Files <- maps:values(Interpreters), File <- Files],
            {noreply, State#state{owners = Left}};
        error ->
            {noreply, State}
    end;
handle_info({kill, OsPid}, State) ->
    py_launcher:kill_group(OsPid),
    tell("-", OsPid, State),
    {noreply, State};
handle_info({Port, {exit_status, _}}, #state{port = Port, owners = Owners} = State) ->
    %% Somebody has killed the shell.
    Next = State#state{port = open()},
    _ = [tell("+", OsPid, Next) || {_, Interpreters} <- maps:values(Owners), OsPid <- maps:keys(Interpreters)],
    {noreply, Next};
handle_info(_Message, State) ->
    {noreply, State}.

%% Interpreters that are still waited for have lost their workers: the time to wait is over.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{port = Port} = State) ->
    kill_waiting(),
    write("q\n", State),
    receive
        {Port, {exit_status, _}} -> ok
    after ?LEAVE_MS -> ok
    end.

kill_waiting() ->
    receive
        {kill, OsPid} ->
            py_launcher:kill_group(OsPid),
            kill_waiting()
    after 0 -> ok
    end.

%% One without a number was gone before it could be asked for it.
tell(_What, 0, _State) -> ok;
tell(What, OsPid, State) -> write([What, $\s, integer_to_list(OsPid), $\n], State).

%% A port that has just closed says so in a message of its own.
write(Data, #state{port = Port}) ->
    try port_command(Port, Data) of
        true -> ok
    catch
        error:badarg -> ok
    end.

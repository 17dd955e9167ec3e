%%% @doc What an interpreter is told in its first call (`erl.calls.worker.configure'), of what is the same for all of a pool.
%%% @private
-module(py_settings).

-export([new/1]).

%% @doc The keys are in it: not for logs.
-spec new(py_config:pool()) -> #{atom() => term()}.
new(Config) ->
    Same = maps:with([pickle, log_level, encoders, decoders, max_memory, event_loop, coroutines], Config),
    Same#{
        key => py_key:get(Config),
        former_keys => py_key:former(Config),
        flags => py_mapping:flags(Config) bor 4,
        shared => py_shared_owner:place(Config),
        modules => modules(Config)
    }.

%% Where other nodes have sent any; a sandbox does not see them.
modules(#{sandbox := Kind}) when Kind =/= none ->
    undefined;
modules(_Config) ->
    Path = py_directory:path(py_directory:modules()),
    case filelib:is_dir(Path) of
        true -> unicode:characters_to_binary(Path);
        false -> undefined
    end.
